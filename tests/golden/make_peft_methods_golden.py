#!/usr/bin/python3
"""Writes the stored references of PEFT that the relatives of LoRA are tested against.

Run:  python3 make_peft_methods_golden.py [OUTPUT_DIRECTORY]            (default: the folder of this script)
      python3 make_peft_methods_golden.py --load ADAPTER_DIRECTORY      prints the logits of an adapter of wasi_vit
Needs torch, torchvision, accelerate and peft from PyPI; no network. The tests only read the files. README.md says what
they hold.
"""

import json
import math
import os
import sys

import numpy
import make_peft_golden
import peft
import peft.optimizers.lorafa
import torch
from peft.optimizers import create_lorafa_optimizer, create_riemannian_optimizer

from make_peft_golden import ALPHA, HERE, RANK, adapted, base_model, data, train
from make_vit_golden import save_safetensors

SGD = dict(lr=0.1, momentum=0.9, weight_decay=1e-4)
ADAMW = dict(lr=1e-3, weight_decay=0.05)
MLP = ["mlp.0", "mlp.3"]


def started(start, alpha=ALPHA, rank=RANK, **more):
    """The model with an adapter that starts from its weights. The rank and scale are those of the tests."""
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        init_lora_weights=start,
        target_modules=MLP,
        modules_to_save=["head"],
        **more,
    )
    return peft.get_peft_model(base_model(), config).train()


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


def with_both(name, make, images, labels, results, sgd=SGD, adamw=ADAMW):
    results[name + "_logits"] = make()(images)
    model = make()
    results[name + "_sgd"] = train(model, images, labels, torch.optim.SGD(trainable(model), **sgd))
    model = make()
    results[name + "_adamw"] = train(model, images, labels, torch.optim.AdamW(trainable(model), **adamw))


def lorafa(images, labels):
    """LoRA-FA's own optimiser, in float throughout, and with PyTorch's place of epsilon.

    It multiplies by the inverse Gram matrix in bfloat16 wherever that type exists, which would be the reference's
    error and not ours; and it adds epsilon to the root of the second moment before the bias correction, which is
    torch.optim.AdamW's epsilon times that correction.
    """
    peft.optimizers.lorafa.is_bf16_available = lambda: False
    model = adapted()
    optimizer = create_lorafa_optimizer(model, r=RANK, lora_alpha=ALPHA, lr=1e-3, weight_decay=0.0)
    inner = optimizer.step
    count = 0

    def step():
        nonlocal count
        count += 1
        optimizer.param_groups[0]["eps"] = 1e-8 * math.sqrt(1.0 - 0.999**count)
        inner()

    optimizer.step = step
    return train(model, images, labels, optimizer)


def dora(seed=7):
    """A, B and the lengths all away from where they start."""
    model = started(True, use_dora=True)
    random = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.from_numpy(random.standard_normal(tuple(parameter.shape)).astype(numpy.float32))
            if "lora_A" in name or "lora_B" in name:
                parameter.copy_(0.2 * noise)
            elif "lora_magnitude_vector" in name:
                parameter.mul_(1.0 + 0.1 * noise)
    return model.train()


def eva(images):
    """A: the leading principal components of what passes into each layer, all images in one batch; B: zero.

    By an exact SVD: PEFT's own start makes a sketch of it, which is not the same to 1e-5.
    """
    model = started(True)
    seen = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, peft.tuners.lora.layer.Linear):
            hooks.append(module.register_forward_hook(lambda _, x, __, name=name: seen.__setitem__(name, x[0])))
    with torch.no_grad():
        model(images)
        for name, x in seen.items():
            x = x.double().flatten(0, -2)
            vh = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh
            layer = model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(vh[:RANK])
    for hook in hooks:
        hook.remove()
    return model


def main():
    torch.set_num_threads(1)
    images, labels = data()
    if len(sys.argv) == 3 and sys.argv[1] == "--load":
        model = peft.PeftModel.from_pretrained(base_model(), sys.argv[2]).train()
        print(json.dumps(model(images).tolist()))
        return
    out = sys.argv[1] if len(sys.argv) > 1 else HERE
    results = {}
    with_both("rslora_pissa", lambda: started("pissa", use_rslora=True), images, labels, results, sgd=dict(SGD, lr=0.01))
    with_both("olora", lambda: started("olora", alpha=2.0), images, labels, results, sgd=dict(SGD, lr=0.01))
    with_both("mica", lambda: started("mica"), images, labels, results)
    results["lorafa_adamw"] = lorafa(images, labels)
    model = adapted()
    optimizer = create_riemannian_optimizer(model, torch.optim.SGD, reg=1e-2, **SGD)
    results["riemannian_sgd"] = train(model, images, labels, optimizer)
    model = adapted()
    optimizer = create_riemannian_optimizer(model, torch.optim.AdamW, reg=1e-2, **ADAMW)
    results["riemannian_adamw"] = train(model, images, labels, optimizer)
    dora().save_pretrained(os.path.join(out, "peft_dora_adapter"))
    with_both("dora", dora, images, labels, results)
    with_both("dora_pissa", lambda: started("pissa", use_dora=True), images, labels, results)
    make_peft_golden.BATCH = len(images)  # each step on the images that the start has seen
    with_both("eva", lambda: eva(images), images, labels, results)
    results = {name: value.detach() for name, value in results.items()}
    size = save_safetensors(os.path.join(out, "peft_methods.safetensors"), results, {"peft": peft.__version__})
    print(f"peft_methods.safetensors: {size} bytes")
    for name, value in results.items():
        print(f"  {name:24}", tuple(value.shape), [round(float(x), 5) for x in value.flatten()[:10:3]])


if __name__ == "__main__":
    main()
