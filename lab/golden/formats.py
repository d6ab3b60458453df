"""Weight files and block formats as the reference packages write and read them.

Writes test/golden/formats/: dequantize.json (random blocks of every GGUF type and their values by `gguf.quants`),
rope.json (Llama 3 divisors by `transformers`), mixed.safetensors with mixed.json (dtypes, by `safetensors`),
values.gguf with values.json (every metadata type), {sample,slip,bomb}.zip, and {llama,qwen2,qwen3,gpt2}.gguf, the fixtures of families.py as
llama.cpp's converter changes them: Q/K rows permuted for llama, Conv1D transposed for gpt2.
Run: python lab/golden/formats.py   (in a virtual environment with gguf 0.19.0, safetensors 0.8.0, torch 2.15.0,
transformers 5.23.0, numpy 2.4.6, Python 3.11; seed 11), after families.py.
"""

import base64
import json
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from encoding import LIMIT_BYTES, encode, write_golden
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SEED = 11
ROOT = Path(__file__).parents[2] / "test"
FIXTURES, GOLDEN = ROOT / "fixtures" / "models", ROOT / "golden" / "formats"
ORIGIN = {"script": "lab/golden/formats.py", "seed": SEED, "gguf": "0.19.0", "torch": torch.__version__}
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where each block keeps its fp16 scales: random bits there would be NaN or infinite in one block of 32.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip
# Smallest subnormal, largest finite, negative zero, and what a scale looks like in a real model.
SCALES = np.array([6e-8, 65504, -0.0, -0.0123, 1.5, 0.000321], dtype=np.float16)


def random_blocks(name, generator):
    values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = 6 if values == 256 else 12 if values == 32 else 128
    blocks = generator.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES.get(name, []):
        scales = generator.permutation(np.resize(SCALES, count)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    return blocks


def dequantized(generator):
    golden = {"origin": ORIGIN}
    for name in TYPES:
        blocks = random_blocks(name, generator)
        values = gguf.quants.dequantize(blocks.reshape(1, -1), gguf.GGMLQuantizationType[name]).astype(np.float32)
        golden[name] = {
            "bytes": base64.b64encode(blocks.tobytes()).decode(),
            "values": encode(torch.from_numpy(values.reshape(-1).copy()), "float32"),
        }
    return golden


def rope_divisors():
    """Llama 3.2 1B's frequencies and what its scaling divides them by."""
    scaling = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    base, width = 500000.0, 64
    rope = {"rope_type": "llama3", "rope_theta": base, **scaling}
    config = LlamaConfig(hidden_size=2048, num_attention_heads=32, head_dim=width, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return {"origin": ORIGIN, "ropeBase": base, "factor": 32.0, "divisors": encode(plain / scaled.double(), "float32")}


def mixed_dtypes(generator):
    values = torch.from_numpy(generator.standard_normal((3, 5)).astype(np.float32)) * 10
    tensors = {
        "single": values, "half": values.half(), "brain": values.bfloat16(), "ids": torch.arange(4), "scalar": values[0, 0],
        "empty": torch.zeros(0, 5),
    }  # fmt: skip
    save_file({k: v.clone() for k, v in tensors.items()}, GOLDEN / "mixed.safetensors", {"note": "müsli"})
    floats = {k: encode(v.float(), "float32") for k, v in tensors.items() if k != "ids"}
    return {"origin": ORIGIN, "tensors": floats, "metadata": {"note": "müsli"}}


def metadata_values():
    writer = gguf.GGUFWriter(GOLDEN / "values.gguf", "none")
    kinds = {
        "UINT8": 255, "INT8": -128, "UINT16": 65535, "INT16": -32768, "UINT32": 4294967295, "INT32": -2147483648,
        "FLOAT32": 0.15625, "BOOL": True, "STRING": "grüß 🌊", "UINT64": 2**53 - 1, "INT64": -(2**53) + 1, "FLOAT64": 0.1,
    }  # fmt: skip
    for name, value in kinds.items():
        writer.add_key_value(f"v.{name}", value, gguf.GGUFValueType[name])
    arrays = {"a.strings": ["a", "", "ß"], "a.numbers": [1, -2, 3], "a.floats": [0.5, -0.25], "a.nested": [[1, 2], [3]]}
    for name, value in arrays.items():
        writer.add_array(name, value)
    writer.add_key_value("big", 2**64 - 1, gguf.GGUFValueType.UINT64)
    writer.add_custom_alignment(64)
    for name, count in [("first", 3), ("second", 40)]:
        writer.add_tensor(name, np.arange(count, dtype=np.float32).reshape(1, count))
    finish(writer)
    return {"origin": ORIGIN, "metadata": {f"v.{k}": v for k, v in kinds.items()} | arrays}


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_zips():
    """A plain archive, one that would write outside its folder, one of 40 kB that unpacks to 40 MB."""
    stamp = (2020, 2, 2, 0, 0, 0)
    contents = {
        "sample": {"model/config.json": b"{}", "model/1_Pooling/config.json": b'{"a": 1}', "model/": b"", "__init__.py": b"1"},
        "slip": {"../evil.json": b"{}"},
        "bomb": {"model/big.bin": bytes(40_000_000)},
    }
    for name, entries in contents.items():
        with zipfile.ZipFile(GOLDEN / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in entries.items():
                info = zipfile.ZipInfo(path, stamp)
                archive.writestr(info, data, zipfile.ZIP_STORED if path.endswith("__.py") else zipfile.ZIP_DEFLATED)


def permute(weights, heads):
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)
    )


def write_model(fixture, arch):
    """The fixture as a GGUF of this architecture, tensors named by gguf's own table."""
    config = json.loads((FIXTURES / fixture / "config.json").read_text())
    is_gpt2 = arch == "gpt2"
    read = lambda gpt2, llama: config[gpt2 if is_gpt2 else llama]
    layers, heads = read("n_layer", "num_hidden_layers"), read("n_head", "num_attention_heads")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], layers)
    writer = gguf.GGUFWriter(GOLDEN / f"{arch}.gguf", arch)
    writer.add_block_count(layers)
    writer.add_context_length(read("n_positions", "max_position_embeddings"))
    writer.add_embedding_length(read("n_embd", "hidden_size"))
    writer.add_feed_forward_length(4 * config["n_embd"] if is_gpt2 else config["intermediate_size"])
    writer.add_head_count(heads)
    if is_gpt2:
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        rope = config.get("rope_parameters") or {}
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(rope.get("rope_theta") or config["rope_theta"])
        if "head_dim" in config:
            writer.add_key_length(config["head_dim"])
            writer.add_value_length(config["head_dim"])
    for name, tensor in load_file(FIXTURES / fixture / "model.safetensors").items():
        data = tensor.numpy()
        if arch == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            data = permute(data, heads if "q_proj" in name else config["num_key_value_heads"])
        if is_gpt2 and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            data = data.T
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(data))
    finish(writer)


def main():
    generator = np.random.default_rng(SEED)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    write_golden(GOLDEN / "dequantize.json", dequantized(generator))
    write_golden(GOLDEN / "rope.json", rope_divisors())
    write_golden(GOLDEN / "mixed.json", mixed_dtypes(generator))
    write_golden(GOLDEN / "values.json", metadata_values())
    write_zips()
    for fixture, arch in [("llama-untied", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gpt2", "gpt2")]:
        write_model(fixture, arch)
    for path in GOLDEN.iterdir():
        assert path.stat().st_size < LIMIT_BYTES, path


if __name__ == "__main__":
    main()
