"""Reads and writes safetensors files of float32, float64 and int64 tensors with numpy alone.

A file is the length of a JSON header (8 bytes, little endian), the header (type, shape and byte range by name) and the
elements in row-major order.
"""
import json
import os

import numpy as np

TYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


def write(path, tensors, metadata=None, double=False):
    """Writes a dict of arrays, integers as int64 and all else as float32, or as float64 where `double`; the file appears
    whole or not at all."""
    arrays, header, begin = {}, {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        kind = "I64" if np.issubdtype(np.asarray(array).dtype, np.integer) else "F64" if double else "F32"
        arrays[name] = np.ascontiguousarray(array, dtype=TYPES[kind])
        end = begin + arrays[name].nbytes
        header[name] = {"dtype": kind, "shape": list(arrays[name].shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}.part", "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            out.write(array.data)
    os.replace(f"{path}.part", path)


def each(path):
    """The tensors of a file, one (name, array) after another: no more than one is in memory at a time."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if entry["dtype"] not in TYPES:
                raise ValueError(f"{path}: tensor {name} has type {entry['dtype']}, wanted one of {', '.join(TYPES)}")
            file.seek(8 + length + entry["data_offsets"][0])
            count = int(np.prod(entry["shape"], dtype=np.int64))
            yield name, np.fromfile(file, TYPES[entry["dtype"]], count).reshape(entry["shape"])


def read(path):
    """All tensors of a file as a dict of arrays."""
    return dict(each(path))
