"""Golden values of REINFORCE and PPO in float64: rewards, advantages, ratios, losses, gradients of a whole step.

Writes test/golden/training/{gpt2,llama}-ppo.json and policy-gradient.json; layouts in lab/golden/README.md.
Run: python lab/golden/actor_critic.py   (in a virtual environment with torch 2.15.0, transformers 5.23.0,
numpy 2.4.6, Python 3.11; seed 20240601). Models, adapters and rows are those of training_step.py, read from its files.
Losses are written as maxima and differentiated by torch, where Floodgate writes the gradients down.
"""

import base64
import json

import numpy as np
import torch
from encoding import encode, encode_all, write_golden
from reference_decoder import header, hidden_states, output_matrix
from training_step import OUT, SCALE, gradients, random_tensor, sampler_log_probs

SEED = 20240601
DTYPE = torch.float64
KL, LAMBDA, CLIP, VALUE_CLIP, VALUE_WEIGHT, ENTROPY = 0.05, 0.95, 0.2, 0.2, 0.5, 0.01
SCORES = [0.9, -0.3, 0.4, 0.05]


def decode(tensor):
    array = np.frombuffer(base64.b64decode(tensor["base64"]), dtype="<f4").reshape(tensor["shape"])
    return torch.tensor(array.astype(np.float64), dtype=DTYPE)


def read(name):
    return json.loads((OUT / f"{name}.json").read_text())


def float32(tensor):
    return tensor.detach().to(torch.float32).to(DTYPE)


def forward(model, weights, lora, head, inputs):
    """Per row: log-probs of its tokens and values of the states before them."""
    log_probs, values = [], []
    start = len(inputs["metaPrompt"]) - 1
    for row in inputs["rows"]:
        ids = torch.tensor([inputs["metaPrompt"] + row])
        hidden = hidden_states(model["config"], weights, ids, lora, SCALE)[0, start : start + len(row)]
        logits = hidden @ output_matrix(model["config"], weights).T
        log_probs.append(sampler_log_probs(logits, row, inputs["endIds"]))
        inner = torch.relu(hidden @ head["value.hidden.weight"].T + head["value.hidden.bias"])
        values.append(inner @ head["value.out.weight"][0] + head["value.out.bias"][0])
    return log_probs, values


def advantages_of(rewards, values):
    """GAE with gamma 1, straight from its definition: a sum of lambda^k delta_{t+k}."""
    result = []
    for r, v in zip(rewards, values):
        following = torch.cat([v[1:], torch.zeros(1, dtype=DTYPE)])
        delta = r + following - v
        result.append(torch.stack([
            sum(LAMBDA**k * delta[t + k] for k in range(len(delta) - t)) for t in range(len(delta))
        ]))  # fmt: skip
    return result


def whiten(rows):
    """Mean 0, population variance 1 over all tokens, as trlX does it."""
    flat = torch.cat(rows)
    scale = torch.rsqrt(flat.var(unbiased=False) + 1e-8)
    return [(row - flat.mean()) * scale for row in rows]


def ppo_step(family, generator):
    model, inputs = read(f"{family}-model"), read(f"{family}-step")["inputs"]
    weights = {name: decode(t) for name, t in model["weights"].items()}
    lora = {path: (decode(p["A"]), decode(p["B"])) for path, p in model["lora"].items()}
    head = {
        "value.hidden.weight": random_tensor(generator, 32, 16, std=0.3),
        "value.hidden.bias": random_tensor(generator, 32, std=0.1),
        "value.out.weight": random_tensor(generator, 1, 32, std=0.3),
        "value.out.bias": random_tensor(generator, 1, std=0.1),
    }
    trained = {f"{path}.{side}": t for path, pair in lora.items() for side, t in zip(("A", "B"), pair)} | head
    for tensor in trained.values():
        tensor.requires_grad_(True)
    log_probs, values = forward(model, weights, lora, head, inputs)
    noise = lambda like, std: random_tensor(generator, len(like), std=std)
    old_log_probs = [float32(p + noise(p, 0.3)) for p in log_probs]
    old_values = [float32(v + noise(v, 0.5)) for v in values]
    reference = [float32(p + noise(p, 0.6)) for p in log_probs]
    rewards = [-KL * (old - ref) - ENTROPY * old for old, ref in zip(old_log_probs, reference)]
    for reward, score in zip(rewards, SCORES):
        reward[-1] += score
    raw = advantages_of(rewards, old_values)
    returns = [a + v for a, v in zip(raw, old_values)]
    advantages = whiten(raw)

    tokens = sum(map(len, log_probs))
    ratio = torch.cat([(p - old).exp() for p, old in zip(log_probs, old_log_probs)])
    a, v, old_v, g = map(torch.cat, (advantages, values, old_values, returns))
    free, clipped = -a * ratio, -a * ratio.clamp(1 - CLIP, 1 + CLIP)
    policy_loss = torch.maximum(free, clipped).sum() / tokens
    v_clipped = torch.minimum(torch.maximum(v, old_v - VALUE_CLIP), old_v + VALUE_CLIP)
    error, clipped_error = (v - g) ** 2, (v_clipped - g) ** 2
    value_loss = 0.5 * torch.maximum(error, clipped_error).sum() / tokens
    stopped = [int((clipped > free).sum()), int((clipped_error > error).sum())]
    assert 2 < stopped[0] < tokens - 2 and 1 < stopped[1] < tokens - 2, stopped
    log_ratio = ratio.log()
    golden = {
        "origin": header("actor_critic.py", SEED),
        "settings": {
            "kl": KL, "lambda": LAMBDA, "clipRange": CLIP, "valueClipRange": VALUE_CLIP,
            "valueWeight": VALUE_WEIGHT, "entropy": ENTROPY,
        },
        "head": {name: encode(t, "float32") for name, t in head.items()},
        "scores": SCORES,
        "oldLogProbs": [t.tolist() for t in old_log_probs],
        "referenceLogProbs": [t.tolist() for t in reference],
        "oldValues": [t.tolist() for t in old_values],
        "values": [t.tolist() for t in values],
        "rewards": [t.tolist() for t in rewards],
        "rawAdvantages": [t.tolist() for t in raw],
        "returns": [t.tolist() for t in returns],
        "advantages": [t.tolist() for t in advantages],
        "policyLoss": policy_loss.item(),
        "valueLoss": value_loss.item(),
        "clipFraction": stopped[0] / tokens,
        "valueClipFraction": stopped[1] / tokens,
        "approximateKl": ((ratio - 1) - log_ratio).mean().item(),
        "gradients": encode_all(gradients(policy_loss + VALUE_WEIGHT * value_loss, trained), "float64"),
    }  # fmt: skip
    print(family, policy_loss.item(), value_loss.item(), stopped, tokens)
    write_golden(OUT / f"{family}-ppo.json", golden)


def reinforce_advantages(rewards):
    """Leave-one-out baseline by deleting each row in turn; then divided by the batch's standard deviation."""
    r = torch.tensor(rewards, dtype=DTYPE)
    left_out = torch.stack([r[i] - r[torch.arange(len(r)) != i].mean() for i in range(len(r))])
    return left_out, left_out / r.std(unbiased=False)


def adaptive_kl(initial, target, horizon, observed, batch):
    """Ziegler et al. 2019, section 2.2: e = clip((KL - target) / target, -0.2, 0.2), beta *= 1 + e n / horizon."""
    coefficient, found = initial, []
    for kl in observed:
        error = float(np.clip((kl - target) / target, -0.2, 0.2))
        coefficient *= 1 + error * batch / horizon
        found.append(coefficient)
    return found


def policy_gradient():
    """A REINFORCE step of the GPT-2 shape: loss = -mean(advantage * log pi), and the numbers that need no model."""
    model, step = read("gpt2-model"), read("gpt2-step")
    inputs = step["inputs"]
    weights = {name: decode(t) for name, t in model["weights"].items()}
    lora = {path: (decode(p["A"]), decode(p["B"])) for path, p in model["lora"].items()}
    trained = {f"{path}.{side}": t for path, pair in lora.items() for side, t in zip(("A", "B"), pair)}
    for tensor in trained.values():
        tensor.requires_grad_(True)
    zero_head = {
        "value.hidden.weight": torch.zeros(1, 16, dtype=DTYPE), "value.hidden.bias": torch.zeros(1, dtype=DTYPE),
        "value.out.weight": torch.zeros(1, 1, dtype=DTYPE), "value.out.bias": torch.zeros(1, dtype=DTYPE),
    }  # fmt: skip
    log_probs, _ = forward(model, weights, lora, zero_head, inputs)
    log_pi = torch.stack([p.sum() for p in log_probs])
    log_reference = [-9.5, -17.25, -12.0, -20.5]
    penalised = [s - KL * (p - ref) for s, p, ref in zip(SCORES, log_pi.tolist(), log_reference)]
    left_out, normalised = reinforce_advantages(penalised)
    loss = -(left_out * log_pi).mean()
    kl = [0.5, 9.0, 6.3, 5.9, 0.0]
    golden = {
        "origin": header("actor_critic.py", SEED),
        "kl": KL,
        "scores": SCORES,
        "logPRef": log_reference,
        "rewards": penalised,
        "leaveOneOut": left_out.tolist(),
        "normalised": normalised.tolist(),
        "loss": loss.item(),
        "gradients": encode_all(gradients(loss, trained), "float64"),
        "klControl": {
            "initial": 0.001, "target": 6, "horizon": 10000, "batch": 128, "observed": kl,
            "coefficients": adaptive_kl(0.001, 6, 10000, kl, 128),
        },
    }  # fmt: skip
    write_golden(OUT / "policy-gradient.json", golden)


def main():
    generator = torch.Generator().manual_seed(SEED)
    for family in ("gpt2", "llama"):
        ppo_step(family, generator)
    policy_gradient()


if __name__ == "__main__":
    main()
