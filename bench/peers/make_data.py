#!/usr/bin/env python3
"""make_data.py FOLDER: writes the data of all rows once, from a fixed seed. bench/README.md says what it is and why."""
import json
import pathlib
import sys

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

import tensor_file

VERSION = 2  # raise it when anything below changes: old files are then made anew
SEED = 20251009
OUTPUTS, INPUTS = 3072, 768
ENERGY = 0.9
GRADIENTS, GRADIENT_RANK = 4, 8
STEP_NORM = 0.01  # ||eta dW|| / ||W|| of one weight step
BATCHES = 4
DRIFT = 0.05  # tangent of a typical angle between the feature directions of two batches
SHARED_ENERGY, NOISE_ENERGY = 0.4, 0.02
POINTS, COORDINATES, MEAN = 100_000, 64, 1e4
SPARSE_ROWS, SPARSE_COLUMNS, NONZEROS, TOPICS = 20_000, 5_000, 1_000_000, 200


def orthonormal(rng, rows, columns):
    """A random orthonormal basis: QR of normals, in double."""
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def decay(extent, power):
    """Singular values j^power, scaled to mean square 1."""
    values = np.arange(1, extent + 1, dtype=np.float64) ** power
    return values * np.sqrt(extent / np.sum(values**2))


def matrix_and_weight(rng):
    """A (3072,768) with singular values j^-1/2 and random orthogonal factors; W = L R its best part of energy 0.9 with
    four gradients of rank 8, P Qᵀ, Q orthonormal, eta ||P|| = 0.01 ||W||."""
    u, v = orthonormal(rng, OUTPUTS, INPUTS), orthonormal(rng, INPUTS, INPUTS)
    s = np.arange(1, INPUTS + 1, dtype=np.float64) ** -0.5
    energy = np.cumsum(s**2) / np.sum(s**2)
    rank = int(np.searchsorted(energy, ENERGY) + 1)
    weight = {"left": u[:, :rank], "right": s[:rank, None] * v[:, :rank].T}
    for g in range(GRADIENTS):
        p = rng.standard_normal((OUTPUTS, GRADIENT_RANK))
        weight[f"p{g}"] = p * (STEP_NORM * np.sqrt(np.sum(s[:rank] ** 2)) / np.linalg.norm(p))
        weight[f"q{g}"] = orthonormal(rng, INPUTS, GRADIENT_RANK)
    return {"a": (u * s) @ v.T}, weight


def activations(rng, batch, tokens, features, count):
    """`count` batches of activations (batch, tokens, features); see bench/README.md."""
    # Tokens are smooth: cosines of rising frequency. Features: random directions that turn a little between batches.
    position = (np.arange(tokens) + 0.5) / tokens
    waves = np.cos(np.pi * np.outer(position, np.arange(tokens))) * np.sqrt(2.0 / tokens)
    waves[:, 0] = np.sqrt(1.0 / tokens)
    directions = orthonormal(rng, features, features)
    by_token, by_feature = decay(tokens, -0.75), decay(features, -0.75)
    by_sample = decay(batch, -0.5)
    shared = (rng.standard_normal((tokens, features)) * np.outer(by_token, by_feature) ** 1.5)
    result = {}
    for step in range(count):
        if step > 0:
            turn = DRIFT * rng.standard_normal((features, features)) / np.sqrt(features)
            directions = np.linalg.qr(directions + directions @ (turn - turn.T) / np.sqrt(2.0))[0]
        # Samples of one batch have something in common (a few kinds of picture), newly mixed in each batch.
        inner = rng.standard_normal((batch, tokens, features)) * by_sample[:, None, None]
        inner = np.tensordot(orthonormal(rng, batch, batch), inner, axes=1)
        own = inner * by_token[None, :, None] * by_feature
        common = np.broadcast_to(shared, own.shape)
        noise = rng.standard_normal(own.shape)
        parts = ((own, 1.0 - SHARED_ENERGY - NOISE_ENERGY), (common, SHARED_ENERGY), (noise, NOISE_ENERGY))
        x = sum(part * np.sqrt(share * part.size / np.sum(part**2)) for part, share in parts)
        x = np.matmul(waves, x)  # token waves to tokens, sample by sample
        result[f"x{step}"] = (x @ directions.T).astype(np.float32)
    return result


def points(rng):
    """Rows with spreads 0.1 to 1, decaying, in random directions, around a mean of 1e4 in every coordinate; float32 keeps
    steps of 1e-3 there. With them the variances of their principal components, of what float32 kept, in double."""
    spreads = np.geomspace(1.0, 0.1, COORDINATES)
    turn = orthonormal(rng, COORDINATES, COORDINATES)
    a = (MEAN + (rng.standard_normal((POINTS, COORDINATES)) * spreads) @ turn.T).astype(np.float32)
    wide = a.astype(np.float64) - MEAN  # exact
    wide -= wide.mean(axis=0)
    variances = np.linalg.eigvalsh(wide.T @ wide)[::-1] / (POINTS - 1)
    return {"a": a}, {"variances": variances}


def exponential(rng):
    """(2000,1000), singular values 10^(-j/25)."""
    values = 10.0 ** (-np.arange(1000) / 25.0)
    return {"a": (orthonormal(rng, 2000, 1000) * values) @ orthonormal(rng, 1000, 1000).T}


def popular(rng, extent, count, power):
    """`count` indices below `extent`, the one of rank r taken with a probability like r^-power; which has which rank is
    random."""
    weights = np.arange(1, extent + 1, dtype=np.float64) ** -power
    return rng.permutation(extent)[rng.choice(extent, size=count, p=weights / weights.sum())]


def documents(rng):
    """A sparse (20000,5000) matrix like a count of words: an entry belongs to a topic, some topics are larger than
    others, each has its own popular rows and columns; entries that meet are added, values are log-normal. Compressed
    rows, and the leading singular values in double, whose residuals are looked at."""
    sizes = np.arange(1, TOPICS + 1, dtype=np.float64) ** -0.6
    sizes = np.floor(sizes / sizes.sum() * NONZEROS).astype(np.int64)
    rows = np.concatenate([popular(rng, SPARSE_ROWS, size, 0.5) for size in sizes])
    columns = np.concatenate([popular(rng, SPARSE_COLUMNS, size, 0.7) for size in sizes])
    a = scipy.sparse.coo_array((rng.lognormal(size=rows.size), (rows, columns)), (SPARSE_ROWS, SPARSE_COLUMNS)).tocsr()
    a.sum_duplicates()
    gram = a.T @ a
    squares, vectors = scipy.sparse.linalg.eigsh(gram, k=64, ncv=200, tol=0, v0=rng.standard_normal(SPARSE_COLUMNS))
    residuals = np.linalg.norm(gram @ vectors - vectors * squares, axis=0)
    if residuals.max() > 1e-12 * squares.max():
        raise RuntimeError(f"the singular values of the documents are off by {residuals.max() / squares.max():.1e}")
    values = np.sqrt(squares[::-1])
    return {"values": a.data, "starts": a.indptr, "columns": a.indices, "shape": np.array(a.shape), "s": values}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "data.json"
    made_by = {"version": VERSION, "seed": SEED}
    if note.exists() and json.loads(note.read_text()) == made_by:
        return
    # A generator for each file: one row's data does not depend on another's.
    matrix, weight = matrix_and_weight(np.random.default_rng([SEED, 1]))
    tensor_file.write(folder / "matrix.safetensors", matrix)
    tensor_file.write(folder / "weight.safetensors", weight)
    tensor_file.write(folder / "activations_128x50x768.safetensors",
                      activations(np.random.default_rng([SEED, 2]), 128, 50, 768, BATCHES))
    tensor_file.write(folder / "activations_16x50x3072.safetensors",
                      activations(np.random.default_rng([SEED, 3]), 16, 50, 3072, BATCHES))
    inputs = activations(np.random.default_rng([SEED, 4]), 16, 50, 768, 1)
    gradients = activations(np.random.default_rng([SEED, 5]), 16, 50, 3072, 1)
    tensor_file.write(folder / "gradient.safetensors", {"x": inputs["x0"], "dy": gradients["x0"]})
    cloud, variances = points(np.random.default_rng([SEED, 6]))
    tensor_file.write(folder / "points.safetensors", cloud)
    tensor_file.write(folder / "variances.safetensors", variances, double=True)
    tensor_file.write(folder / "exponential.safetensors", exponential(np.random.default_rng([SEED, 7])), double=True)
    tensor_file.write(folder / "documents.safetensors", documents(np.random.default_rng([SEED, 8])), double=True)
    flat = np.random.default_rng([SEED, 9]).standard_normal((3000, 2000)).astype(np.float32)
    values = np.sqrt(np.linalg.eigvalsh(flat.T.astype(np.float64) @ flat.astype(np.float64))[:-65:-1])
    tensor_file.write(folder / "flat.safetensors", {"a": flat})
    tensor_file.write(folder / "flat_values.safetensors", {"s": values}, double=True)
    note.write_text(json.dumps(made_by))


if __name__ == "__main__":
    main()
