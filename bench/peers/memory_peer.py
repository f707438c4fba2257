#!/usr/bin/env python3
"""memory_peer.py start | vanilla | checkpoint  [--weights FILE --images FILE --steps N]

Trains torchvision's ViT-B/32 in PyTorch on one batch for N steps of SGD and prints losses and seconds of each step as
JSON. `checkpoint` runs every encoder block under torch.utils.checkpoint; `start` imports and ends.
"""
import argparse
import json
import os
import time

import torch
import torch.utils.checkpoint
import torchvision

import tensor_file

RATE, WEIGHT_DECAY = 0.05, 1e-4


class Checkpointed(torch.nn.Module):
    """A block of which only the input is kept: it is run again in the backward pass."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.block, x)


def load(model, path):
    """Copies the file's tensors into the model one by one: two copies of all weights never exist."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, array in tensor_file.each(path):
            parameters.pop(name).copy_(torch.from_numpy(array))
    if parameters:
        raise ValueError(f"{path}: there is no tensor {', '.join(parameters)}")


def train(options):
    """Losses before each update and seconds of each step."""
    model = torchvision.models.vit_b_32()
    load(model, options.weights)
    if options.method == "checkpoint":
        layers = model.encoder.layers
        for name, block in list(layers.named_children()):
            setattr(layers, name, Checkpointed(block))
    model.train()
    data = {name: torch.from_numpy(array) for name, array in tensor_file.each(options.images)}
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    losses, seconds = [], []
    for _ in range(options.steps):
        start = time.perf_counter()
        # Gradients of the last step are freed, not filled with zeros: less memory, and the default of newer versions.
        optimizer.zero_grad(set_to_none=options.gradients == "free")
        loss = torch.nn.functional.cross_entropy(model(data["images"]), data["labels"])
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    return {"losses": losses, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=["start", "vanilla", "checkpoint"])
    parser.add_argument("--weights")
    parser.add_argument("--images")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--gradients", choices=["keep", "free"], default="keep")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    result = {"version": f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}"}
    if options.method != "start":
        result.update(train(options))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
