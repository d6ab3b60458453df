"""Token ids of SentencePiece's BPE with scores, as a GGUF file holds it: by the sentencepiece library.

Writes test/golden/models/sentencepiece.json: `tokens`, `scores`, `types` (as llama.cpp numbers them) of a tiny model
trained here, and `cases: [{text, plain, prefixed}]`, ids without and with a space put before the text.
Run: python lab/golden/sentencepiece_ids.py   (in a virtual environment with sentencepiece 0.2.3, protobuf, Python 3.11;
seed 5; the training has no randomness).
"""

import io
import random
from importlib.metadata import version
from pathlib import Path

import sentencepiece
from encoding import write_golden
from sentencepiece import sentencepiece_model_pb2

SEED = 5
OUT = Path(__file__).parents[2] / "test" / "golden" / "models" / "sentencepiece.json"
CORPUS = [
    "the quick brown fox jumps over the lazy dog and the other dogs", "she sells sea shells by the sea shore, she said",
    "aaaa aaa aa a banana bananas bandana", "counting: 1 2 3 10 100 1000 2000", "über straße naïve café", "漢字 かな 漢字",
] * 3  # fmt: skip
TEXTS = [
    "a", " ", "  ", "the dog", " the  dog ", "aaaaaaaaaaa", "aaaa aaaaa  aaa", "bananananas", "x\ny\n\n\nz", "\t\n",
    "漢字漢 😀 👩‍👩‍👧", "naïve e\u0301 \u0000", "<s> the </s> <unk> <0x41> <tool>x</tool>", "SHELLS sea-shells, 12345.", "▁the▁dog ▁",
]  # fmt: skip


def trained():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, vocab_size=400, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
        user_defined_symbols=["\n", "\n\n", "<tool>"], hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())


def encoder(model, prefix):
    model.normalizer_spec.add_dummy_prefix = prefix
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString()).encode


def main():
    model = trained()
    rng = random.Random(SEED)
    texts = TEXTS + ["".join(rng.choice("aabnthes  do\n1ü漢😀") for _ in range(rng.randrange(1, 40))) for _ in range(150)]
    plain, prefixed = [[encode(text) for text in texts] for encode in (encoder(model, False), encoder(model, True))]
    content = {
        "origin": {"script": "lab/golden/sentencepiece_ids.py", "seed": SEED, "sentencepiece": version("sentencepiece")},
        "tokens": [piece.piece for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        "types": [piece.type for piece in model.pieces],
        "cases": [{"text": t, "plain": a, "prefixed": b} for t, a, b in zip(texts, plain, prefixed)],
    }
    write_golden(OUT, content)


main()
