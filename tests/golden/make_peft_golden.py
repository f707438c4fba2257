#!/usr/bin/python3
"""Writes the stored reference of PEFT that low-rank adapters (LoRA) are tested against.

Run:  python3 make_peft_golden.py [OUTPUT_DIRECTORY]            (default: the folder of this script)
      python3 make_peft_golden.py --load ADAPTER_DIRECTORY      prints the logits of an adapter that wasi_vit has written
Needs torch, torchvision and peft from PyPI; no network. The tests only read the files. README.md says what they hold.
"""

import json
import os
import sys

import numpy
import peft
import torch
from safetensors.torch import load_file

from make_vit_golden import CLASSES, HEADS, HIDDEN, IMAGE, LAYERS, MLP, PATCH, save_safetensors
from torchvision.models.vision_transformer import VisionTransformer

RANK, ALPHA, STEPS, BATCH = 4, 10, 10, 12
HERE = os.path.dirname(os.path.abspath(__file__))


def base_model():
    model = VisionTransformer(
        image_size=IMAGE,
        patch_size=PATCH,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=HIDDEN,
        mlp_dim=MLP,
        num_classes=CLASSES,
    )
    model.load_state_dict(load_file(os.path.join(HERE, "vit_cli_weights.safetensors")))
    return model


def adapted(seed=5):
    """Both factors random: with B at zero, as LoRA starts, half of the gradients would vanish."""
    # Not attention: PEFT 0.21 merges the adapter of torch.nn.MultiheadAttention's out_proj twice.
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=["mlp.0", "mlp.3"], modules_to_save=["head"]
    )
    model = peft.get_peft_model(base_model(), config)
    random = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                value = 0.2 * random.standard_normal(tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(value.astype(numpy.float32)))
    return model.train()


def train(model, images, labels, optimizer):
    losses = []
    for step in range(STEPS):
        first = step * BATCH % len(images)
        optimizer.zero_grad()
        logits = model(images[first : first + BATCH])
        loss = torch.nn.functional.cross_entropy(logits, labels[first : first + BATCH])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def data():
    tensors = load_file(os.path.join(HERE, "vit_cli_data.safetensors"))
    return tensors["images"], tensors["labels"]


def main():
    torch.set_num_threads(1)
    images, labels = data()
    if len(sys.argv) == 3 and sys.argv[1] == "--load":
        model = peft.PeftModel.from_pretrained(base_model(), sys.argv[2]).train()
        print(json.dumps(model(images).tolist()))
        return
    out = sys.argv[1] if len(sys.argv) > 1 else HERE
    start = adapted()
    start.save_pretrained(os.path.join(out, "peft_adapter"))
    # Training mode, as in make_vit_golden.py: the fused path of attention stays out of it.
    results = {"logits": start(images)}
    trainable = lambda model: [p for p in model.parameters() if p.requires_grad]
    model = adapted()
    results["sgd_losses"] = train(
        model, images, labels, torch.optim.SGD(trainable(model), lr=0.1, momentum=0.9, weight_decay=1e-4)
    )
    model = adapted()
    results["adamw_losses"] = train(
        model, images, labels, torch.optim.AdamW(trainable(model), lr=1e-3, weight_decay=0.05)
    )
    size = save_safetensors(os.path.join(out, "peft_losses.safetensors"), results, {"peft": peft.__version__})
    print(f"peft_losses.safetensors: {size} bytes; parameters trained:")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            print(" ", name, tuple(parameter.shape))


if __name__ == "__main__":
    main()
