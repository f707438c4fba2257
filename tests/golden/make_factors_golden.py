#!/usr/bin/python3
"""Writes the stored PyTorch reference that free factors, W = L R, are tested against.

Run:  /usr/bin/python3 make_factors_golden.py [OUTPUT_DIRECTORY]     (default: the folder of this script)
Needs what make_vit_golden.py needs; no network. The tests only read the file. README.md says what it holds.
"""

import os
import sys

import numpy
import torch

from make_vit_golden import save_safetensors

SAMPLES, INPUTS, OUTPUTS, RANK, STEPS = 12, 10, 7, 3, 10
DECAY = 0.5  # of the product; large, so that a mistake in it shows


def start(random, dtype):
    """L = U sqrt(s), R = sqrt(s) V^T of a random W (O, I), a bias, inputs and labels."""
    u, s, v = numpy.linalg.svd(random.standard_normal((OUTPUTS, INPUTS)) / numpy.sqrt(INPUTS))
    root = numpy.sqrt(s[:RANK])
    values = {
        "left": u[:, :RANK] * root,
        "right": root[:, None] * v[:RANK],
        "bias": 0.2 * random.standard_normal(OUTPUTS),
        "x": random.standard_normal((SAMPLES, INPUTS)),
    }
    tensors = {name: torch.from_numpy(value.astype(numpy.float32)).to(dtype) for name, value in values.items()}
    tensors["labels"] = torch.from_numpy((numpy.arange(SAMPLES) % OUTPUTS).astype(numpy.int64))
    return tensors


def train(tensors, make_optimizer):
    """Cross entropy of X (L R)^T + b. The loss before each of ten updates, L, R and b afterwards."""
    left, right, bias = (torch.nn.Parameter(tensors[name].clone()) for name in ("left", "right", "bias"))
    optimizer = make_optimizer([left, right], [bias])
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits = (tensors["x"] @ right.T) @ left.T + bias
        loss = torch.nn.functional.cross_entropy(logits, tensors["labels"])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "left": left, "right": right, "bias": bias}


def adamw(factors, others, lr=0.02):
    each = (1.0 - numpy.sqrt(1.0 - lr * DECAY)) / lr  # (1 - lr each)^2 = 1 - lr DECAY
    return torch.optim.AdamW(
        [{"params": factors, "weight_decay": each}, {"params": others, "weight_decay": DECAY}], lr=lr
    )


def sgd(factors, others):
    return torch.optim.SGD(
        [{"params": factors, "weight_decay": DECAY / 2}, {"params": others, "weight_decay": DECAY}],
        lr=0.1,
        momentum=0.9,
    )


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    torch.set_num_threads(1)
    tensors = start(numpy.random.RandomState(20250301), torch.float32)
    double = start(numpy.random.RandomState(20250301), torch.float64)
    results = dict(tensors)
    for name, make_optimizer in (("adamw", adamw), ("sgd", sgd)):
        single, exact = train(tensors, make_optimizer), train(double, make_optimizer)
        for key in single:
            results[f"{name}.{key}"] = exact[key]  # the same steps in double
            distance = (single[key].double() - exact[key]).norm() / exact[key].norm()
            print(f"{name}.{key}: float against double {distance:.1e}")
        print(f"{name}: " + " ".join(f"{loss:.4f}" for loss in single["losses"].tolist()))
    path = os.path.join(directory, "factors_golden.safetensors")
    size = save_safetensors(path, results, {"made_by": f"torch {torch.__version__}"})
    print(f"factors_golden.safetensors: {size} bytes")


if __name__ == "__main__":
    main()
