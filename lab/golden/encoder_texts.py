"""Token ids, types and float64 outputs of the fixture encoders, for texts and pairs of texts.

Writes test/golden/models/encoder-texts.json from the fixtures of families.py; layout in lab/golden/README.md.
Run after families.py: python lab/golden/encoder_texts.py   (in a virtual environment with torch 2.15.0,
transformers 5.23.0, tokenizers 0.23.3, Python 3.11; nothing random). Truncation is `longest_first` to the 32 tokens
of the fixtures; each text is run alone, without padding.
"""

import json
from pathlib import Path

import torch
import transformers as hf
from encoding import encode, write_golden
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2] / "test"
LONG = "the library opens at nine and closes at five, or so they say. "
INPUTS = [
    ["hello there"],
    [""],
    ["a"],
    [LONG * 2],
    ["could you help me?", "of course, what is it about?"],
    ["", "an answer without a question"],
    [LONG, "short"],
    ["short", LONG],
    [LONG, LONG],
]


def run(name):
    folder = ROOT / "fixtures" / "models" / name
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=32, strategy="longest_first")
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(hf, architecture).from_pretrained(folder).double().eval()
    rows, outputs = [], []
    for texts in INPUTS:
        encoding = tokenizer.encode(*texts)
        rows.append({"texts": texts, "ids": encoding.ids, "tokenTypes": encoding.type_ids})
        feeds = {"input_ids": torch.tensor([encoding.ids])}
        if model.config.model_type == "bert":
            feeds["token_type_ids"] = torch.tensor([encoding.type_ids])
        with torch.no_grad():
            result = model(**feeds)
        if hasattr(result, "logits"):
            is_multi = model.config.problem_type == "multi_label_classification"
            outputs.append(result.logits[0].sigmoid() if is_multi else result.logits[0].softmax(-1))
        else:
            outputs.append(torch.nn.functional.normalize(result.last_hidden_state[0].mean(0), dim=-1))
    return {"rows": rows, "outputs": encode(torch.stack(outputs), "float32")}


def main():
    hf.utils.logging.disable_progress_bar()
    names = ["bert-encoder", "bert-classifier", "roberta-classifier", "distilbert-classifier"]
    origin = {"script": "lab/golden/encoder_texts.py", "torch": torch.__version__, "transformers": hf.__version__}
    write_golden(ROOT / "golden" / "models" / "encoder-texts.json", {"origin": origin, **{n: run(n) for n in names}})


if __name__ == "__main__":
    main()
