"""From a picture over HTTP to labels and probabilities."""

import os

# onnxruntime's official builds report usage to their vendor unless told not to before they
# are loaded (its Privacy.md). A service that looks at people's pictures tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
