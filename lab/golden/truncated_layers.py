"""Log-probs of models without their last layers -> test/golden/models/truncated-layers.json.

Each fixture is loaded by `transformers` with `num_hidden_layers` lowered to 1 and run in float32 on fixed ids.
Made with Python 3, torch and transformers as stated under `origin`; no randomness (seed null).
Run from the repository root: python lab/golden/truncated_layers.py
"""

import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

IDS = [5, 9, 3, 17, 11, 6]
FIXTURES = ["gpt2", "smollm2", "qwen2", "qwen3"]


def log_probs(name, layers):
    """[T-1] log p of each id given those before it."""
    folder = f"test/fixtures/models/{name}"
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:layers]
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0].double()
    scores = torch.log_softmax(logits, dim=-1)
    return [scores[t, IDS[t + 1]].item() for t in range(len(IDS) - 1)]


golden = {
    "origin": {
        "script": "lab/golden/truncated_layers.py",
        "seed": None,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    },
    "ids": IDS,
    "layers": 1,
    "logProbs": {name: log_probs(name, 1) for name in FIXTURES},
    "wholeLogProbs": {name: log_probs(name, 2) for name in FIXTURES},
}
path = pathlib.Path("test/golden/models/truncated-layers.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
