"""How golden files hold tensors: `{"shape": [...], "base64": "..."}`, little-endian, float32 or float64."""

import base64
import json

import numpy as np

LIMIT_BYTES = 64 * 1024


def encode(tensor, dtype):
    array = np.asarray(tensor.detach().cpu().numpy(), dtype=np.dtype(dtype).newbyteorder("<"))
    return {"shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode()}


def encode_all(tensors, dtype):
    return {name: encode(tensor, dtype) for name, tensor in tensors.items()}


def write_golden(path, content):
    """Writes `content` as JSON, one top-level key a line; refuses a file of 64 KiB or more."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if len(text.encode()) >= LIMIT_BYTES:
        raise ValueError(f"{path}: {len(text.encode())} bytes, the limit is {LIMIT_BYTES}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(f"{path.name}: {len(text.encode())} bytes")
