"""Ask by NVIDIA's `tritonclient` (the Open Inference Protocol V2).

pip install 'tritonclient[http]'
python triton_client.py localhost:8000 fashion-mnist-image boot.png
"""

import sys
from pathlib import Path

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

url, model, path = sys.argv[1:]
image = InferInput("images", [1], "BYTES")  # a whole image file
image.set_data_from_numpy(np.array([Path(path).read_bytes()], dtype=np.object_))
best = InferRequestedOutput("probabilities", class_count=3)  # "value:index:label"
answer = InferenceServerClient(url).infer(model, [image], outputs=[best])
for row in answer.as_numpy("probabilities").ravel():
    probability, _, label = row.decode().split(":", 2)
    print(f"{label}, {float(probability):.1%}")
