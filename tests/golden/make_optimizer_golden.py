#!/usr/bin/python3
"""Writes the stored references of optimisers that work in small spaces, and of training biases and norms alone.

Run:  python3 make_optimizer_golden.py [OUTPUT_DIRECTORY]     (default: the folder of this script)
Needs torch, torchvision, transformers, safetensors, torchao and galore-torch from PyPI (pip install --no-deps
galore-torch: its 8-bit class asks for bitsandbytes, and is not used here); no network. The tests only read the file. README.md says what
it holds.
"""

import importlib.metadata
import importlib.util
import os
import sys
import types

import numpy
import torch
from safetensors.torch import load_file

from make_vit_golden import STEPS, loss_of, random_model, save_safetensors

HERE = os.path.dirname(os.path.abspath(__file__))
RANK = 4  # of GaLore
GALORE = dict(lr=2e-3, weight_decay=0.1, no_deprecation_warning=True)  # betas and eps as the package has them


def galore_package():
    """The package's AdamW and projector, without its __init__, which imports bitsandbytes."""
    package = types.ModuleType("galore_torch")
    package.__path__ = list(importlib.util.find_spec("galore_torch").submodule_search_locations)
    sys.modules["galore_torch"] = package
    return importlib.import_module("galore_torch.adamw"), importlib.import_module("galore_torch.galore_projector")


def start():
    """The model, images and labels of vit_golden.safetensors."""
    stored = load_file(os.path.join(HERE, "vit_golden.safetensors"))
    model = random_model(numpy.random.RandomState(1))
    prefix = "weights."
    model.load_state_dict({k[len(prefix):]: v for k, v in stored.items() if k.startswith(prefix)})
    return model, stored["images"], stored["labels"]


def pays(parameter):
    """Whether projecting makes the state smaller, which is the library's choice; the package leaves it to the user."""
    if parameter.dim() != 2:
        return False
    small, large = min(parameter.shape), max(parameter.shape)
    return RANK < small and RANK * (small + 2 * large) < 2 * small * large


def with_settled_signs(projector):
    """The same singular vectors with the signs that the library gives them: what an SVD leaves open."""
    original = projector.GaLoreProjector.get_orthogonal_matrix

    def settled(self, weights, rank, type):
        basis = original(self, weights, rank, type)
        columns = basis.T if type == "right" else basis
        signs = torch.sign(columns[columns.abs().argmax(0), torch.arange(columns.shape[1])])
        return basis * signs[:, None] if type == "right" else basis * signs

    projector.GaLoreProjector.get_orthogonal_matrix = settled


class Rotated(torch.optim.Optimizer):
    """GaLore as the package has it, with exact SVDs in double and with moments carried over to new directions as in
    LDAdam (arXiv 2410.16103, without its error feedback): from the formulas, one parameter at a time."""

    def __init__(self, parameters, gap, scale, lr, weight_decay, beta1=0.9, beta2=0.999, eps=1e-6):
        super().__init__(parameters, {})
        self.gap, self.scale, self.lr, self.decay = gap, scale, lr, weight_decay
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.move(p, self.state[p])

    def move(self, p, state):
        g = p.grad
        projected, wide = pays(p), p.dim() == 2 and p.shape[0] < p.shape[1]
        if projected and wide:
            g = g.T
        t = state.get("t", 0)
        if projected and t % self.gap == 0:
            q = torch.linalg.svd(g, full_matrices=False).Vh[:RANK].T
            q = q * torch.sign(q[q.abs().argmax(0), torch.arange(RANK)])
            if t > 0:
                c, c1, c2 = state["q"].T @ q, 1 - self.beta1**t, 1 - self.beta2**t
                m, v = state["m"] / c1, state["v"] / c2
                state["v"] = c2 * ((v - m**2) @ c**2 + (m @ c) ** 2).abs()
                state["m"] = state["m"] @ c
            state["q"] = q
        r = g @ state["q"] if projected else g
        state["m"] = self.beta1 * state.get("m", 0) + (1 - self.beta1) * r
        state["v"] = self.beta2 * state.get("v", 0) + (1 - self.beta2) * r**2
        state["t"] = t = t + 1
        size = self.lr * (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t)
        n = state["m"] / (state["v"].sqrt() + self.eps)
        if projected:
            n = self.scale * n @ state["q"].T
            n = n.T if wide else n
        p.sub_(size * n)
        p.mul_(1 - self.lr * self.decay)


def rotated_losses():
    model, images, labels = start()
    model, images = model.double(), images.double()
    optimizer = Rotated(model.parameters(), 3, 0.25, GALORE["lr"], GALORE["weight_decay"])
    return series("galore, gap 3, rotated", model, images, labels, optimizer)


def series(name, model, images, labels, optimizer):
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, images, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    print(name + ": " + " ".join(f"{loss:.5f}" for loss in losses))
    return torch.stack(losses)


def galore_losses(adamw, gap):
    """The loss before each of ten updates. Everything is in one optimiser of the package."""
    model, images, labels = start()
    parameters = list(model.parameters())
    small = [p for p in parameters if pays(p)]
    group = dict(rank=RANK, update_proj_gap=gap, scale=0.25, proj_type="std")
    optimizer = adamw.AdamW([dict(params=small, **group), dict(params=[p for p in parameters if not pays(p)])], **GALORE)
    return series(f"galore, gap {gap}, {len(small)} projected", model, images, labels, optimizer)


class Mofasgd(torch.optim.Optimizer):
    """MoFaSGD (arXiv 2507.08091) from the formula, in NumPy: QR of both sides, SVD of the small core. `code` has the
    start and the step of its authors' code, with eta1 0.25, inverses up to 5, and eta2."""

    def __init__(self, parameters, lr, beta, decay, code=False, eta2=0.0):
        super().__init__(parameters, {})
        self.lr, self.beta, self.decay, self.code, self.eta2 = lr, beta, decay, code, eta2
        self.momentum = {}

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.momentum[p] = self.move(p.detach().numpy(), p.grad.numpy(), self.momentum.get(p))

    def move(self, w, g, momentum):
        w *= 1 - self.lr * self.decay
        if momentum is None:
            u, s, vt = numpy.linalg.svd(w if self.code else g, full_matrices=False)
            u, s, v = u[:, :RANK], s[:RANK], vt[:RANK].T
            if not self.code:
                w -= self.lr * u @ v.T
                return u, s, v
        else:
            u, s, v = momentum
        qu, ru = numpy.linalg.qr(numpy.hstack([u, g @ v]))
        qv, rv = numpy.linalg.qr(numpy.hstack([v, g.T @ u]))
        one = numpy.eye(RANK)
        block = numpy.block([[self.beta * numpy.diag(s) - u.T @ g @ v, one], [one, 0 * one]])
        cu, cs, cvt = numpy.linalg.svd(ru @ block @ rv.T)
        nu, ns, nv = qu @ cu[:, :RANK], cs[:RANK], qv @ cvt[:RANK].T
        if self.code:
            outside = g - u @ (u.T @ g)
            outside -= outside @ v @ v.T
            w -= self.lr * (0.25 * (nu * numpy.minimum(1 / ns, 5)) @ nv.T + self.eta2 * outside)
        else:
            w -= self.lr * nu @ nv.T
        return nu, ns, nv


def mofasgd_losses(name, lr, **options):
    """Matrices that rank 4 makes smaller by MoFaSGD, the rest by AdamW at a tenth of its rate."""
    model, images, labels = start()
    model, images = model.double(), images.double()
    parameters = list(model.parameters())
    small = [p for p in parameters if p.dim() == 2 and RANK * sum(p.shape) < p.numel()]
    both = [Mofasgd(small, lr, 0.9, 0.1, **options),
            torch.optim.AdamW([p for p in parameters if not any(p is s for s in small)], lr=lr / 10, weight_decay=0.1)]

    class Both:
        zero_grad = staticmethod(lambda: [one.zero_grad() for one in both])
        step = staticmethod(lambda: [one.step() for one in both])

    return series(f"{name}, {len(small)} factorized", model, images, labels, Both)


def bitfit_losses():
    """AdamW on biases, norms and the head."""
    model, images, labels = start()
    chosen = [p for name, p in model.named_parameters()
              if name.endswith("bias") or "ln" in name or name.startswith("heads.")]
    for p in model.parameters():
        p.requires_grad_(any(p is one for one in chosen))
    print(f"{len(chosen)} parameters are trained")
    return series("bitfit", model, images, labels, torch.optim.AdamW(chosen, lr=1e-2, weight_decay=0.05))


def eight_bits():
    """torchao's AdamW8bit on one matrix W (96,64): losses 1/2 ||W - A||² before each of twenty updates, and W after
    them. W and A are formulas. Groups of 256 numbers have gradients of many magnitudes, numbers of a group of one decade:
    further apart the package's second moments become zero, which the library's do not."""
    from torchao.optim import AdamW8bit

    i = numpy.arange(96 * 64)
    goal = torch.tensor((3 + numpy.cos(i)) * 10.0 ** (-(i // 256 % 3) - (i % 2)), dtype=torch.float32).reshape(96, 64)
    w = torch.nn.Parameter(torch.tensor(numpy.sin(0.1 * i) * 10.0 ** (-(i // 256 % 3) - (i % 2)), dtype=torch.float32).reshape(96, 64))
    optimizer = AdamW8bit([w], lr=2e-5, weight_decay=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = 0.5 * ((w - goal) ** 2).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    print("8 bits: " + " ".join(f"{loss:.5f}" for loss in losses), type(optimizer.state[w]["exp_avg"]).__name__)
    return torch.stack(losses), w.detach()


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else HERE
    torch.set_num_threads(1)
    adamw, projector = galore_package()
    results = {"galore_losses": galore_losses(adamw, 200)}  # all within one refresh: signs do not matter
    with_settled_signs(projector)
    results["galore_refreshed_losses"] = galore_losses(adamw, 3)
    results["galore_rotated_losses"] = rotated_losses()
    results["mofasgd_losses"] = mofasgd_losses("mofasgd", 0.01)
    results["mofasgd_code_losses"] = mofasgd_losses("mofasgd, as code", 0.02, code=True, eta2=0.05)
    results["bitfit_losses"] = bitfit_losses()
    results["adamw_8_bits_losses"], results["adamw_8_bits_weights"] = eight_bits()
    path = os.path.join(directory, "optimizer_golden.safetensors")
    size = save_safetensors(path, results, {"made_by": f"torch {torch.__version__}, galore-torch 1.0, torchao {importlib.metadata.version('torchao')}"})
    print(f"optimizer_golden.safetensors: {size} bytes")


if __name__ == "__main__":
    main()
