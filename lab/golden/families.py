"""Tiny random checkpoints of every supported family, and their float64 golden outputs.

Writes test/fixtures/models/<name>/ (config.json, model.safetensors, tokenizer.json, tokenizer_config.json; each file
under 64 KiB) through `save_pretrained`, and test/golden/models/<name>.json; layouts in lab/golden/README.md.
Run: python lab/golden/families.py   (in a virtual environment with torch 2.15.0, transformers 5.23.0,
safetensors 0.8.0, numpy 2.4.6, Python 3.11; seed 7). Weights are random with std 0.3, so attention is peaked and
norms and biases are far from the identity. Decoder outputs come from reference_decoder.py in float64, checked
against `transformers` in float32; encoder outputs from `transformers` in float64. Each row is computed alone.
"""

import json
import shutil
from pathlib import Path

import torch
import transformers as hf
from encoding import LIMIT_BYTES, encode, write_golden
from fixture_tokenizers import write_tokenizer
from reference_decoder import (
    check_against_transformers,
    decoder_weights,
    header,
    hidden_states,
    output_matrix,
    randomise,
)
from safetensors.torch import load_file, save_file

SEED = 7
ROOT = Path(__file__).parents[2] / "test"
FIXTURES, GOLDEN = ROOT / "fixtures" / "models", ROOT / "golden" / "models"
VOCAB = 40
DECODER_LENGTHS, ENCODER_LENGTHS = [40, 17, 5], [24, 11, 3]
STD = 0.3

TINY = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
# Wide heads and a small base, so that some frequencies are kept, some blended and some divided.
SCALED = TINY | {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 50.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.5, "high_freq_factor": 2.0,
    "original_max_position_embeddings": 16, "rope_theta": 50.0,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.5,
    "original_max_position_embeddings": 16, "rope_theta": 50.0,
}  # fmt: skip


# A window of 8 and rows of up to 40 tokens: local layers forget. Two kinds of layer, an own divisor, few key heads.
GEMMA3 = TINY | {
    "num_hidden_layers": 4, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 5,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
    },
}  # fmt: skip


def llama(**changes):
    return hf.LlamaForCausalLM(hf.LlamaConfig(**(TINY | changes)))


def gpt2_config():
    return hf.GPT2Config(
        vocab_size=VOCAB, n_positions=48, n_embd=16, n_layer=2, n_head=4, n_inner=None, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip


def decoder_fixtures():
    """name -> (model, tokenizer kind, config style: `v5` as saved, `v4` as older hub checkpoints have it)."""
    scaled = lambda rope: llama(**(SCALED | {"rope_parameters": dict(rope)}))
    smollm = {"hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True}
    smollm |= {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "pad_token_id": 2}
    qwen2 = hf.Qwen2Config(**(TINY | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}))
    qwen3 = hf.Qwen3Config(**(TINY | {"head_dim": 8, "tie_word_embeddings": True, "rms_norm_eps": 1e-6}))
    return {
        "gpt2": (hf.GPT2LMHeadModel(gpt2_config()), "gpt2", "v5"),
        "gpt2-hub": (hf.GPT2LMHeadModel(gpt2_config()), "gpt2", "v4"),
        "llama-untied": (llama(tie_word_embeddings=False), "llama", "v4"),
        "llama-tied": (llama(tie_word_embeddings=True), "llama", "v5"),
        "llama-linear": (scaled(LINEAR), "llama", "v4-type"),
        "llama-llama3": (scaled(LLAMA3), "llama", "v4"),
        "llama-yarn": (scaled(YARN), "llama", "v4"),
        "qwen2": (hf.Qwen2ForCausalLM(qwen2), "chatml", "v4"),
        "qwen3": (hf.Qwen3ForCausalLM(qwen3), "chatml", "v5"),
        "smollm2": (llama(**smollm), "chatml", "v4"),
        "gemma3": (hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**GEMMA3)), "llama", "v5"),
        "gemma3-hub": (hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**GEMMA3)), "llama", "v4-gemma"),
    }


def encoder_fixtures():
    """name -> (model, tokenizer kind)."""
    bert = {
        "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
        "max_position_embeddings": 32,
    }  # fmt: skip
    labels = lambda names: {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    multi = labels(["toxic", "insult", "threat"]) | {"problem_type": "multi_label_classification"}
    single = labels(["safe", "unsafe"])
    roberta = bert | single | {"max_position_embeddings": 34, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    roberta |= {"vocab_size": VOCAB, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    distil = hf.DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=32, **labels(["bad", "good"]),
    )  # fmt: skip
    return {
        "bert-encoder": (hf.BertModel(hf.BertConfig(**bert)), "bert"),
        "bert-classifier": (hf.BertForSequenceClassification(hf.BertConfig(**bert, **multi)), "bert"),
        "roberta-classifier": (hf.RobertaForSequenceClassification(hf.RobertaConfig(**roberta)), "roberta"),
        "distilbert-classifier": (hf.DistilBertForSequenceClassification(distil), "bert"),
    }


def to_v4_config(path, legacy_type):
    """Rewrites a saved config as transformers 4 wrote it: `rope_theta` and `rope_scaling` apart."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters", None)
    if rope is not None and "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
        config |= {"sliding_window_pattern": 3, "cache_implementation": "hybrid"}
        del config["layer_types"]
    if rope is not None:
        config["rope_theta"] = rope.pop("rope_theta")
        if legacy_type:
            rope["type"] = rope.pop("rope_type")
        config["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def to_hub_gpt2(path):
    """Renames tensors as the hub's GPT-2 file has them: no prefix, and the causal mask saved as a buffer."""
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(path).items()}
    positions = tensors["wpe.weight"].shape[0]
    for layer in range(2):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, positions, positions).tril()
    save_file({k: v.contiguous() for k, v in tensors.items() if k != "lm_head.weight"}, path, {"format": "pt"})


def save_fixture(name, model, kind, vocab, max_length, style="v5"):
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    write_tokenizer(folder, kind, vocab, max_length)
    if style.startswith("v4"):
        to_v4_config(folder / "config.json", style == "v4-type")
    if name == "gpt2-hub":
        to_hub_gpt2(folder / "model.safetensors")
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in folder.iterdir():
        assert file.stat().st_size < LIMIT_BYTES, (file, file.stat().st_size)


def check_round_trip(name, rows, logits):
    """Raises unless `transformers` reads the saved decoder back to the same logits."""
    model = hf.AutoModelForCausalLM.from_pretrained(FIXTURES / name).float().eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(FIXTURES / name)
    assert tokenizer.decode(tokenizer("ab c!", add_special_tokens=False).input_ids) == "ab c!", name
    with torch.no_grad():
        for row, expected in zip(rows, logits):
            error = (model(input_ids=torch.tensor([row])).logits[0] - expected).abs().max().item()
            assert error < 1e-4, (name, error)


def random_rows(lengths, vocab, seed):
    """Ragged token ids without the four specials."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, vocab, (n,), generator=generator).tolist() for n in lengths]


def check_gemma3(config, forward, row, logits):
    """Raises unless the window, the kinds of layer, their rotations and the divisor each change the logits."""
    rope = config["rope_parameters"]
    full, local = rope["full_attention"], rope["sliding_attention"]
    for changes in (
        {"sliding_window": 9},
        {"layer_types": ["full_attention"] * 4},
        {"rope_parameters": {"full_attention": full, "sliding_attention": full}},
        {"rope_parameters": {"full_attention": local, "sliding_attention": local}},
        {"query_pre_attn_scalar": config["head_dim"]},
    ):
        effect = (forward(config | changes, row) - logits).abs().max().item()
        assert effect > 0.05, (changes, effect)


def write_decoder(name, model, kind, style, seed):
    randomise(model, seed, STD)
    model.eval()
    config, weights = model.config.to_dict(), decoder_weights(model)
    rows = random_rows(DECODER_LENGTHS, VOCAB, seed)
    error = check_against_transformers(model, config, torch.tensor([rows[0]]))
    forward = lambda c, row: hidden_states(c, weights, torch.tensor([row]))[0] @ output_matrix(c, weights).T
    logits = [forward(config, row) for row in rows]
    rope = config.get("rope_parameters") or {}
    if config["model_type"] == "gemma3_text":
        check_gemma3(config, forward, rows[0], logits[0])
    elif rope.get("rope_type", "default") != "default":
        plain = config | {"rope_parameters": {"rope_type": "default", "rope_theta": rope["rope_theta"]}}
        effect = (forward(plain, rows[0]) - logits[0]).abs().max().item()
        assert effect > 0.05, effect
    save_fixture(name, model, kind, VOCAB, config.get("max_position_embeddings") or 48, style)
    check_round_trip(name, rows, logits)
    golden = {
        "origin": header("families.py", seed),
        "fixture": name,
        "rows": rows,
        "logits": encode(torch.cat(logits), "float32"),
    }
    print(f"{name}: reference against transformers fp32 {error:.1e}")
    write_golden(GOLDEN / f"{name}.json", golden)


def write_encoder(name, model, kind, seed):
    randomise(model, seed, STD)
    model.eval()
    vocab = model.config.vocab_size
    save_fixture(name, model, kind, vocab, 32)
    model.double()
    rows = random_rows(ENCODER_LENGTHS, vocab, seed)
    width = max(ENCODER_LENGTHS)
    padded = torch.tensor([row + [model.config.pad_token_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([row])) for row in rows]
        batch = model(input_ids=padded, attention_mask=mask)
    golden = {"origin": header("families.py", seed), "fixture": name, "rows": rows, "padId": model.config.pad_token_id}
    if name == "bert-encoder":
        hidden = [out.last_hidden_state[0] for out in alone]
        batched = [batch.last_hidden_state[i, : len(row)] for i, row in enumerate(rows)]
        mean = torch.stack([h.mean(0) for h in hidden])
        golden |= {"lastHidden": encode(torch.cat(hidden), "float32"), "meanPooled": encode(mean, "float32")}
        golden |= {"embedding": encode(torch.nn.functional.normalize(mean, dim=-1), "float32")}
    else:
        hidden, batched = [out.logits[0] for out in alone], list(batch.logits)
        logits = torch.stack(hidden)
        is_multi = model.config.problem_type == "multi_label_classification"
        golden |= {"logits": encode(logits, "float32")}
        golden |= {"probabilities": encode(logits.sigmoid() if is_multi else logits.softmax(-1), "float32")}
    error = max((a - b).abs().max().item() for a, b in zip(hidden, batched))
    assert error < 1e-10, error
    write_golden(GOLDEN / f"{name}.json", golden)


def main():
    hf.utils.logging.disable_progress_bar()
    for index, (name, (model, kind, style)) in enumerate(decoder_fixtures().items()):
        write_decoder(name, model, kind, style, SEED + index)
    for index, (name, (model, kind)) in enumerate(encoder_fixtures().items()):
        write_encoder(name, model, kind, SEED + 100 + index)


if __name__ == "__main__":
    main()
