"""Loss and LoRA gradients of supervised fine-tuning on answers, in float64.

Writes test/golden/training/{gpt2,llama,gemma3}-answers.json for the models of training_step.py. Each example is computed alone
on its whole sequence, with labels as a Hugging Face collator makes them: -100 (not counted) on every prompt token.
Run: python lab/golden/answer_likelihood.py   (in a virtual environment with torch 2.15.0, transformers 5.23.0,
numpy 2.4.6, Python 3.11; seed 20240518).
"""

import base64
import json
from pathlib import Path

import numpy as np
import torch
from encoding import encode_all, write_golden
from reference_decoder import header, hidden_states, output_matrix

SEED = 20240518
OUT = Path(__file__).parents[2] / "test" / "golden" / "training"
# The first three begin alike and have prompts of different lengths; the last begins otherwise, its prompt one token.
EXAMPLES = [
    {"prompt": [7, 9, 13, 4, 22], "answer": [8, 30, 31, 3]},
    {"prompt": [7, 9, 13, 21], "answer": [12, 2]},
    {"prompt": [7, 9, 6, 6, 18, 0, 33], "answer": [5, 11, 27, 19, 3]},
    {"prompt": [25], "answer": [14, 14, 2]},
]


def tensor(item):
    data = np.frombuffer(base64.b64decode(item["base64"]), dtype="<f4").reshape(item["shape"])
    return torch.tensor(data.astype(np.float64))


def golden_of(family):
    model = json.loads((OUT / f"{family}-model.json").read_text())
    config = model["config"]
    weights = {name: tensor(item) for name, item in model["weights"].items()}
    lora = {path: (tensor(pair["A"]), tensor(pair["B"])) for path, pair in model["lora"].items()}
    trained = {f"{path}.{side}": t.requires_grad_(True) for path, pair in lora.items() for side, t in zip("AB", pair)}
    sums, count = [], 0
    for example in EXAMPLES:
        ids = torch.tensor([example["prompt"] + example["answer"]])
        labels = torch.tensor([-100] * len(example["prompt"]) + example["answer"])
        hidden = hidden_states(config, weights, ids, lora, model["loraScale"])[0]
        logits = hidden @ output_matrix(config, weights).T
        sums.append(torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum"))
        count += len(example["answer"])
    loss = torch.stack(sums).sum() / count
    gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values()))))
    return {
        "origin": header("answer_likelihood.py", SEED),
        "examples": EXAMPLES,
        "sums": [s.item() for s in sums],
        "loss": loss.item(),
        "gradients": encode_all(gradients, "float64"),
    }


for name in ("gpt2", "llama", "gemma3"):
    write_golden(OUT / f"{name}-answers.json", golden_of(name))
