"""Golden values of one training step: losses and gradients in float64 for a GPT-2, a Llama and a Gemma 3 shape.

Writes test/golden/training/{gpt2,llama,gemma3}-{model,step,tb,vargrad,ctb,sft}.json; layouts in lab/golden/README.md.
Run: python lab/golden/training_step.py   (in a virtual environment with torch 2.15.0, transformers 5.23.0,
numpy 2.4.6, Python 3.11; seed 20240518). Every row is computed on its own full sequence (meta-prompt and attack
together), so the shared meta-prompt, the padding and the masks of Floodgate are checked, not mirrored.
"""

from itertools import combinations
from pathlib import Path

import torch
from encoding import encode, encode_all, write_golden
from reference_decoder import (
    check_against_transformers,
    decoder_weights,
    header,
    hidden_states,
    output_matrix,
    randomise,
)
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

SEED = 20240518
OUT = Path(__file__).parents[2] / "test" / "golden" / "training"
VOCAB, PROMPT_LENGTH, MIN_LENGTH, MAX_LENGTH = 40, 6, 2, 7
LENGTHS = [7, 5, 3, 6]  # row 0 is cut at the maximum length, the others end with an end token
PAD_ID, BANNED_IDS = 0, [0, 5, 11]
RANK, SCALE, BANNED_LOGIT, SIGMA = 4, 0.5, -1e9, 0.5
DTYPE = torch.float64

GPT2_TARGETS = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
LLAMA_TARGETS = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]


def gpt2_model():
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=16, n_embd=16, n_layer=2, n_head=4, n_inner=32,
        bos_token_id=1, eos_token_id=1, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config), [1], [f"transformer.h.{i}.{t}" for i in range(2) for t in GPT2_TARGETS]


def llama_model():
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=[2, 3], pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config), [2, 3], [f"model.layers.{i}.{t}" for i in range(2) for t in LLAMA_TARGETS]


def gemma3_model():
    """Three layers, the middle one global; a window of 5 that begins inside the meta-prompt or the attack."""
    config = Gemma3TextConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, head_dim=4, max_position_embeddings=16, rms_norm_eps=1e-6, sliding_window=5,
        query_pre_attn_scalar=9, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        bos_token_id=1, eos_token_id=[2, 3], pad_token_id=0,
    )  # fmt: skip
    return Gemma3ForCausalLM(config), [2, 3], [f"model.layers.{i}.{t}" for i in range(3) for t in LLAMA_TARGETS]


def random_tensor(generator, *shape, std):
    """Float64 with float32-representable values."""
    return (torch.randn(*shape, generator=generator, dtype=torch.float32) * std).to(DTYPE)


def make_rows(generator, end_ids):
    """Meta-prompt ids and attack rows; tokens drawn from what the sampler may write."""
    allowed = [i for i in range(VOCAB) if i not in BANNED_IDS and i not in end_ids]
    draw = lambda n: [allowed[i] for i in torch.randint(len(allowed), (n,), generator=generator).tolist()]
    prompt = draw(PROMPT_LENGTH)
    rows = []
    for index, length in enumerate(LENGTHS):
        row = draw(length)
        if length < MAX_LENGTH:
            row[-1] = end_ids[index % len(end_ids)]
        rows.append(row)
    return prompt, rows


def row_logits(config, weights, prompt, row, lora=None):
    """Logits [T, V] that predict the row's tokens, and the meta-prompt's hidden states [P, D]."""
    ids = torch.tensor([prompt + row])
    hidden = hidden_states(config, weights, ids, lora, SCALE)[0]
    start = len(prompt) - 1
    return hidden[start : start + len(row)] @ output_matrix(config, weights).T, hidden[: len(prompt)]


def sampler_log_probs(logits, row, end_ids):
    """Log-probs [T] of the tokens under the sampler: banned logits set to -1e9 before the softmax."""
    banned = torch.zeros_like(logits, dtype=torch.bool)
    banned[:, BANNED_IDS] = True
    for end_id in end_ids:
        banned[:MIN_LENGTH, end_id] = True
    log_probs = logits.masked_fill(banned, BANNED_LOGIT).log_softmax(-1)
    return log_probs[torch.arange(len(row)), torch.tensor(row)]


def huber(x):
    return torch.where(x.abs() <= 1, 0.5 * x * x, x.abs() - 0.5)


def objective_losses(log_pi, log_z, log_rewards):
    delta = log_pi - log_rewards
    pairs = [(i, j) for i, j in combinations(range(len(delta)), 2) if abs(log_rewards[i] - log_rewards[j]) >= SIGMA]
    return delta, pairs, {
        "tb": ((log_z + delta) ** 2).mean(),
        "vargrad": ((delta - delta.mean()) ** 2).mean(),
        "ctb": torch.stack([huber(delta[i] - delta[j]) for i, j in pairs]).mean(),
    }  # fmt: skip


def make_rewards(log_pi):
    """Rewards that reach both Huber branches, with one pair closer than sigma."""
    rewards = [round(v, 2) for v in (log_pi.detach() + torch.tensor([4.0, 0.0, 3.6, 1.9])).tolist()]
    rewards[3] = round(rewards[1] + 0.2, 2)
    return torch.tensor(rewards, dtype=torch.float32).to(DTYPE)


def gradients(loss, tensors):
    found = torch.autograd.grad(loss, list(tensors.values()), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(t) if g is None else g for (name, t), g in zip(tensors.items(), found)}


def lora_step(family, config, weights, lora, head, inputs):
    prompt, rows, end_ids = inputs
    trained = {f"{path}.{side}": t for path, pair in lora.items() for side, t in zip(("A", "B"), pair)}
    trained |= {"logZ.weight": head[0], "logZ.bias": head[1]}
    for tensor in trained.values():
        tensor.requires_grad_(True)
    token_log_probs, prompt_hidden = [], None
    for row in rows:
        logits, prompt_hidden = row_logits(config, weights, prompt, row, lora)
        token_log_probs.append(sampler_log_probs(logits, row, end_ids))
    log_pi = torch.stack([t.sum() for t in token_log_probs])
    pooled = prompt_hidden.mean(0)
    log_z = pooled @ head[0] + head[1]
    log_rewards = make_rewards(log_pi)
    delta, pairs, losses = objective_losses(log_pi, log_z, log_rewards)
    differences = [abs((delta[i] - delta[j]).item()) for i, j in pairs]
    assert 0 < len(pairs) < 6 and min(differences) < 1 < max(differences), (pairs, differences)
    for name, loss in losses.items():
        (row_weights,) = torch.autograd.grad(loss, delta, retain_graph=True)
        golden = {
            "origin": header("training_step.py", SEED),
            "loss": loss.item(),
            "deltaGradient": row_weights.tolist(),
            "gradients": encode_all(gradients(loss, trained), "float64"),
        }
        write_golden(OUT / f"{family}-{name}.json", golden)
    golden = {
        "origin": header("training_step.py", SEED),
        "inputs": {
            "metaPrompt": prompt, "rows": rows, "padId": PAD_ID, "endIds": end_ids, "bannedIds": BANNED_IDS,
            "minLength": MIN_LENGTH, "maxLength": MAX_LENGTH, "logRewards": log_rewards.tolist(),
            "sigma": SIGMA, "pairs": pairs,
        },
        "tokenLogProbs": [t.tolist() for t in token_log_probs],
        "logProbs": log_pi.tolist(),
        "pooled": pooled.tolist(),
        "logZ": log_z.item(),
        "deltas": delta.tolist(),
    }  # fmt: skip
    print({name: loss.item() for name, loss in losses.items()}, differences)
    write_golden(OUT / f"{family}-step.json", golden)


def check_merged(config, weights, lora, inputs):
    """Raises unless the adapters act as scale A B added to each weight."""
    ids = torch.tensor([inputs[0] + inputs[1][0]])
    merged = dict(weights)
    for path, (a, b) in lora.items():
        product = SCALE * (a @ b)
        merged[f"{path}.weight"] = weights[f"{path}.weight"] + (product if config["model_type"] == "gpt2" else product.T)
    difference = hidden_states(config, merged, ids) - hidden_states(config, weights, ids, lora, SCALE)
    assert difference.abs().max() < 1e-11, difference.abs().max()


def sft_step(family, config, weights, inputs):
    """Plain cross-entropy on the attack and its end token, no LoRA, nothing banned, all parameters trained."""
    prompt, rows, _ = inputs
    trained = {name: t.clone().requires_grad_(True) for name, t in weights.items()}
    total = torch.zeros((), dtype=DTYPE)
    for row in rows:
        log_probs = row_logits(config, trained, prompt, row)[0].log_softmax(-1)
        total = total - log_probs[torch.arange(len(row)), torch.tensor(row)].sum()
    tokens = sum(map(len, rows))
    loss = total / tokens
    golden = {
        "origin": header("training_step.py", SEED),
        "tokens": tokens,
        "loss": loss.item(),
        "gradients": encode_all(gradients(loss, trained), "float64"),
    }
    write_golden(OUT / f"{family}-sft.json", golden)


def main():
    for family, make in (("gpt2", gpt2_model), ("llama", llama_model), ("gemma3", gemma3_model)):
        model, end_ids, paths = make()
        randomise(model, SEED)
        config, weights = model.config.to_dict(), decoder_weights(model)
        generator = torch.Generator().manual_seed(SEED + 1)
        inputs = (*make_rows(generator, end_ids), end_ids)
        error = check_against_transformers(model, config, torch.tensor([inputs[0] + inputs[1][0]]))
        print(f"{family}: reference against transformers fp32: {error:.2e}")
        in_out = lambda path: weights[f"{path}.weight"].shape[:: 1 if family == "gpt2" else -1]
        lora = {
            path: (
                random_tensor(generator, in_out(path)[0], RANK, std=0.4),
                random_tensor(generator, RANK, in_out(path)[1], std=0.4),
            )
            for path in paths
        }
        head = (random_tensor(generator, 16, std=0.5), random_tensor(generator, 1, std=0.5)[0])
        model_golden = {
            "origin": header("training_step.py", SEED),
            "config": {k: v for k, v in config.items() if v is not None},
            "loraRank": RANK,
            "loraScale": SCALE,
            "weights": encode_all(weights, "float32"),
            "lora": {path: {"A": encode(a, "float32"), "B": encode(b, "float32")} for path, (a, b) in lora.items()},
            "logZ": {"weight": encode(head[0], "float32"), "bias": encode(head[1], "float32")},
        }
        write_golden(OUT / f"{family}-model.json", model_golden)
        check_merged(config, weights, lora, inputs)
        lora_step(family, config, weights, lora, head, inputs)
        sft_step(family, config, weights, inputs)


if __name__ == "__main__":
    main()
