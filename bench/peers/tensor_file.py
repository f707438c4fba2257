"""Reads and writes safetensors files of float32 tensors with numpy alone.

A file is the length of a JSON header (8 bytes, little endian), the header (type, shape and byte range by name) and the
elements in row-major order.
"""
import json
import os

import numpy as np


def write(path, tensors):
    """Writes a dict of arrays as float32; the file appears whole or not at all."""
    arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in tensors.items()}
    header, begin = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, begin + array.nbytes]}
        begin += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}.part", "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            out.write(array.tobytes())
    os.replace(f"{path}.part", path)


def read(path):
    """All tensors of a file as a dict of float32 arrays."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            raise ValueError(f"{path}: tensor {name} has type {entry['dtype']}, wanted F32")
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], dtype=np.float32).reshape(entry["shape"]).copy()
    return tensors
