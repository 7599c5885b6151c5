"""From labelled pictures to an artifact."""

import os

# See `service`: onnxruntime would report usage to its vendor.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
