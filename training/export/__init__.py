"""From a checkpoint to an artifact: ONNX, precisions, parity gate, manifest."""
