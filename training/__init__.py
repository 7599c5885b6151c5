"""From labelled images to an artifact."""

import os
import sys

# See `service`: onnxruntime would report usage to its vendor.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# No window is opened. A notebook's variable names a backend that may be missing here, and then
# matplotlib, which torchmetrics imports as well, refuses to load. A notebook's own plots stay.
if "IPython" not in sys.modules:
    os.environ["MPLBACKEND"] = "Agg"
