"""From an image over HTTP to labels and probabilities."""

import os

# onnxruntime's official builds report usage to their vendor unless that is disabled before they
# are loaded (its Privacy.md). A service for people's images must not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
