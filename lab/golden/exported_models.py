"""Logits of what Floodgate exports, loaded by `transformers` and PEFT.

The export test writes tiny fixtures with a random adapter (same bytes on every machine); this script has it leave the
folders, loads each `model/` and `own-config/` (config.json written by Floodgate) with `AutoModelForCausalLM`, and `adapter/` on
the fixture with `PeftModel`, in fp32, and records the logits and the sha256 of every file that was loaded. The test then
holds the exporter to those bytes, and our engine to those logits.
Run: python lab/golden/exported_models.py   (from the repository root, after `npm ci`, in a virtual environment with
torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0, Python 3.11; seed 11 is the test's).
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import peft
import torch
import transformers as hf
from encoding import encode, write_golden
from reference_decoder import header

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "test" / "fixtures" / "models"
NAMES = ["gpt2", "smollm2", "llama-llama3", "llama-yarn", "qwen2", "qwen3", "gemma3"]
ROW = [5, 9, 30, 7, 7, 12, 22, 4, 31, 18]  # as EXPORT_ROW of test/models/exported-models.ts
LOADED = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "model/config.json"]
LOADED += ["model/model.safetensors", "model/tokenizer.json", "own-config/config.json", "own-config/model.safetensors"]


def logits(model):
    with torch.no_grad():
        return model.float().eval()(input_ids=torch.tensor([ROW])).logits[0, 1:]


def load(folder):
    model, info = hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    for kind, names in info.items():
        assert not names, (folder, kind, names)
    return model


def golden_of(folder, name):
    merged = logits(load(folder / "model"))
    own = logits(load(folder / "own-config"))
    base = load(FIXTURES / name)
    plain = logits(base)
    adapted_model = peft.PeftModel.from_pretrained(base, folder / "adapter")
    adapted = logits(adapted_model)
    again = logits(adapted_model.merge_and_unload())
    assert (plain - adapted).abs().max() > 0.1, name
    for other in (own, adapted, again):
        assert (merged - other).abs().max() < 1e-4, (name, (merged - other).abs().max())
    tokenizer = hf.AutoTokenizer.from_pretrained(folder / "model")
    assert tokenizer.decode(tokenizer("ab c!", add_special_tokens=False).input_ids) == "ab c!", name
    files = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in LOADED}
    return {"files": files, "merged": encode(merged, "float32"), "adapted": encode(adapted, "float32")}


def main():
    with tempfile.TemporaryDirectory() as place:
        command = ["npx", "vitest", "run", "test/models/export.test.ts"]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"FLOODGATE_EXPORT_DIR": place}, check=True)
        content = {"origin": header("exported_models.py", 11) | {"peft": peft.__version__}}
        for name in NAMES:
            content[name] = golden_of(Path(place) / name, name)
    write_golden(ROOT / "test" / "golden" / "models" / "exported-models.json", content)


main()
