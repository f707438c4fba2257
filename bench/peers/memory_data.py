#!/usr/bin/env python3
"""memory_data.py FOLDER: writes the weights and the images of the memory table once, from a fixed seed.

vit_b_32.safetensors     ViT-B/32 with torchvision's names. Linear weights of the blocks have singular values j^-1/2 and
                         random orthonormal factors, so that energy 0.6 and 0.9 ask for ranks as trained weights do
images_BATCH.safetensors one batch: normal random images (BATCH,3,224,224), as normalised images have them, and labels
"""
import json
import pathlib
import sys

import numpy as np

import tensor_file

VERSION = 1  # raise it when anything below changes: old files are then made anew
SEED = 20251010
BATCHES = (16, 64)
IMAGE, PATCH, DIM, DEPTH, HEADS, MLP, CLASSES = 224, 32, 768, 12, 12, 3072, 1000
DECAY = -0.5  # singular values j^DECAY
ENTRY = 0.01  # root mean square of a block's weights: the blocks neither blow up nor vanish


def orthonormal(rng, rows, columns):
    """A random orthonormal basis: QR of normals."""
    return np.linalg.qr(rng.standard_normal((rows, columns), dtype=np.float32))[0]


def linear_weight(rng, outputs, inputs):
    """(outputs,inputs) with singular values proportional to j^DECAY."""
    extent = min(outputs, inputs)
    values = np.arange(1, extent + 1, dtype=np.float64) ** DECAY
    values *= ENTRY * np.sqrt(outputs * inputs / np.sum(values**2))
    return (orthonormal(rng, outputs, extent) * values.astype(np.float32)) @ orthonormal(rng, inputs, extent).T


def normal(rng, deviation, *shape):
    return deviation * rng.standard_normal(shape, dtype=np.float32)


def weights(rng):
    """All parameters by torchvision's names. Biases and layer norms are not at their usual 0 and 1, so that a side that
    forgot one would compute another loss."""
    def norm(name):
        return {f"{name}.weight": 1.0 + normal(rng, 0.1, DIM), f"{name}.bias": normal(rng, 0.1, DIM)}

    def linear(name, outputs, inputs):
        separator = "_" if name.endswith("in_proj") else "."
        return {f"{name}{separator}weight": linear_weight(rng, outputs, inputs),
                f"{name}{separator}bias": normal(rng, 0.02, outputs)}

    tokens = (IMAGE // PATCH) ** 2 + 1
    fan_in = 3 * PATCH * PATCH
    tensors = {"class_token": normal(rng, 0.02, 1, 1, DIM),
               "conv_proj.weight": normal(rng, fan_in**-0.5, DIM, 3, PATCH, PATCH),
               "conv_proj.bias": normal(rng, 0.02, DIM),
               "encoder.pos_embedding": normal(rng, 0.02, 1, tokens, DIM)}
    for block in range(DEPTH):
        prefix = f"encoder.layers.encoder_layer_{block}"
        tensors.update(norm(f"{prefix}.ln_1"))
        tensors.update(linear(f"{prefix}.self_attention.in_proj", 3 * DIM, DIM))
        tensors.update(linear(f"{prefix}.self_attention.out_proj", DIM, DIM))
        tensors.update(norm(f"{prefix}.ln_2"))
        tensors.update(linear(f"{prefix}.mlp.0", MLP, DIM))
        tensors.update(linear(f"{prefix}.mlp.3", DIM, MLP))
    tensors.update(norm("encoder.ln"))
    tensors.update({"heads.head.weight": normal(rng, 0.02, CLASSES, DIM), "heads.head.bias": normal(rng, 0.02, CLASSES)})
    return tensors


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "memory.json"
    made_by = {"version": VERSION, "seed": SEED}
    if note.exists() and json.loads(note.read_text()) == made_by:
        return
    tensor_file.write(folder / "vit_b_32.safetensors", weights(np.random.default_rng([SEED, 1])), {"heads": str(HEADS)})
    for batch in BATCHES:
        rng = np.random.default_rng([SEED, 2, batch])
        tensor_file.write(folder / f"images_{batch}.safetensors",
                          {"images": normal(rng, 1.0, batch, 3, IMAGE, IMAGE), "labels": rng.integers(CLASSES, size=batch)})
    note.write_text(json.dumps(made_by))


if __name__ == "__main__":
    main()
