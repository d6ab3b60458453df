"""Golden values of three AdamW updates with global-norm clipping, warm-up and linear decay.

Writes test/golden/training/adamw.json; layout in lab/golden/README.md.
Run: python lab/golden/adamw.py   (in a virtual environment with torch 2.15.0, transformers 5.23.0, numpy 2.4.6,
Python 3.11; seed 11). `torch.optim.AdamW`, `clip_grad_norm_` and the schedule of `transformers` in float64.
"""

from pathlib import Path

import torch
from encoding import encode_all, write_golden
from reference_decoder import header
from transformers import get_linear_schedule_with_warmup

SEED = 11
OUT = Path(__file__).parents[2] / "test" / "golden" / "training"
SHAPES = {"matrix": (4, 6), "vector": (5,), "scalar": (1,)}
PEAK_RATE, WARMUP, TOTAL, BETAS, EPSILON, DECAY, MAX_NORM = 0.01, 2, 6, (0.9, 0.999), 1e-8, 0.01, 1.0
# Gradient norms before clipping: well above the limit, below it, and above it again.
GRADIENT_STDS = [3.0, 0.05, 0.6]


def random_tensors(generator, std):
    make = lambda shape: (torch.randn(shape, generator=generator, dtype=torch.float32) * std).double()
    return {name: make(shape) for name, shape in SHAPES.items()}


def main():
    generator = torch.Generator().manual_seed(SEED)
    initial = random_tensors(generator, 1.0)
    parameters = {name: torch.nn.Parameter(t.clone()) for name, t in initial.items()}
    optimizer = torch.optim.AdamW(parameters.values(), PEAK_RATE, BETAS, EPSILON, DECAY)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, TOTAL)
    # The schedule of `transformers` gives update 0 the rate 0; Floodgate counts updates from 1.
    optimizer.step()
    schedule.step()
    updates = []
    for std in GRADIENT_STDS:
        gradients = random_tensors(generator, std)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM, error_if_nonfinite=True)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        state = {name: optimizer.state[p] for name, p in parameters.items()}
        updates.append({
            "gradients": encode_all(gradients, "float32"),
            "gradientNorm": norm.item(),
            "learningRate": rate,
            "parameters": encode_all(parameters, "float64"),
            "firstMoments": encode_all({n: s["exp_avg"] for n, s in state.items()}, "float64"),
            "secondMoments": encode_all({n: s["exp_avg_sq"] for n, s in state.items()}, "float64"),
        })  # fmt: skip
        print(norm.item(), rate)
    settings = {"learningRate": PEAK_RATE, "warmupUpdates": WARMUP, "totalUpdates": TOTAL, "beta1": BETAS[0]}
    settings |= {"beta2": BETAS[1], "epsilon": EPSILON, "weightDecay": DECAY, "maxNorm": MAX_NORM}
    golden = {"origin": header("adamw.py", SEED), "settings": settings, "initial": encode_all(initial, "float32")}
    write_golden(OUT / "adamw.json", golden | {"updates": updates})


if __name__ == "__main__":
    main()
