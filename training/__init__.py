"""From labelled images to an artifact."""

import os
import sys

# See `service`: onnxruntime would report usage to its vendor.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Threads that wait for others of the same operation sleep instead of spinning: beside another busy
# process, or another training, a spinning thread takes the core that the one it waits for needs.
# The OpenMP library reads this when torch is loaded. A choice of the user's stays.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # GNU's
    os.environ["KMP_BLOCKTIME"] = "0"  # Intel's and LLVM's

# No window is opened. A notebook's variable names a backend that may be missing here, and then
# matplotlib, which torchmetrics imports as well, refuses to load. A notebook's own plots stay.
if "IPython" not in sys.modules:
    os.environ["MPLBACKEND"] = "Agg"
