"""The Open Inference Protocol V2 over gRPC; loaded only where `RESNET_GRPC_PORT` is set."""
