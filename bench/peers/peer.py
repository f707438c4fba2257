#!/usr/bin/env python3
"""peer.py DATA: the same work in scikit-learn, scipy, TensorLy and PyTorch, called or written from the formulas. One
request a line on standard input, one answer a line; peers_numerics (numerics.cpp) speaks the same:

    describe            versions and threads                                  ok TEXT
    prepare ROW         reads the data, makes the start                       ok
    run ROW ROUNDS      one round untimed, then ROUNDS timed                  ms T1 T2 ...
    write ROW PATH      the work once from the start, its result to a file    ok NOTE
    release ROW                                                               ok

Where something fails the answer is `error` and the reason.
"""
import os
import pathlib
import platform
import re
import sys
import time

import numpy as np
import scipy
import sklearn.utils.extmath
import torch

import peer_linalg
import tensor_file

DATA = pathlib.Path(sys.argv[1])
RANK, OVERSAMPLING, PASSES, ENERGY = 64, 10, 2, 0.9
ACTIVATION_RANKS = (8, 4, 8)


def load(name):
    return {key: torch.from_numpy(value) for key, value in tensor_file.read(DATA / f"{name}.safetensors").items()}


def unfold(x, mode):
    """X_(m): the fibres of the mode as columns."""
    return x.movedim(mode, 0).reshape(x.shape[mode], -1)


def core_of(x, bases):
    """X x_1 U_1ᵀ x_2 U_2ᵀ x_3 U_3ᵀ, one mode after another."""
    for mode, basis in enumerate(bases):
        x = torch.tensordot(x, basis, dims=([mode], [0])).movedim(-1, mode)
    return x


def first_of_energy(values, share):
    """The fewest singular values whose squares make up this share of the energy."""
    energy = torch.cumsum(values.double() ** 2, 0)
    return int(torch.searchsorted(energy, share * energy[-1])) + 1


def tucker_result(core, bases):
    return {"core": core, "u0": bases[0], "u1": bases[1], "u2": bases[2]}


class Svd:
    """A = U diag(s) Vᵀ of a (3072,768) matrix."""

    def __init__(self):
        self.a = load("matrix")["a"]


class SklearnSvd(Svd):
    def round(self):
        u, s, vt = sklearn.utils.extmath.randomized_svd(
            self.a.numpy(), RANK, n_oversamples=OVERSAMPLING, n_iter=PASSES, power_iteration_normalizer="LU",
            random_state=0)
        return {"u": u, "s": s, "v": vt.T}


class TorchLowRankSvd(Svd):
    def round(self):
        u, s, v = torch.svd_lowrank(self.a, q=RANK + OVERSAMPLING, niter=PASSES)
        return {"u": u[:, :RANK], "s": s[:RANK], "v": v[:, :RANK]}


class TorchFullSvd(Svd):
    def round(self):
        u, s, vt = torch.linalg.svd(self.a, full_matrices=False)
        rank = first_of_energy(s, ENERGY)
        return {"u": u[:, :rank], "s": s[:rank], "v": vt[:rank].T}


class WarmActivations:
    """A sweep over the modes, each in the full tensor: V = X_(m)ᵀ U_m, U_m <- orth(X_(m) V). The bases start from the
    leading singular vectors of the first batch and stay from one batch to the next."""

    def __init__(self, name):
        batches = load(name)
        self.batches = [batches[key] for key in sorted(batches)]
        first = [unfold(self.batches[0], mode).numpy().astype(np.float64) for mode in range(3)]
        vectors = [np.linalg.eigh(x @ x.T)[1][:, ::-1] for x in first]
        self.start = [torch.from_numpy(np.ascontiguousarray(v[:, :rank], dtype=np.float32))
                      for v, rank in zip(vectors, ACTIVATION_RANKS)]
        self.restart()

    def restart(self):
        self.bases = list(self.start)
        self.step = 0

    def round(self):
        self.step += 1
        x = self.batches[self.step % len(self.batches)]
        for mode in range(3):
            unfolded = unfold(x, mode)
            self.bases[mode] = torch.linalg.qr(unfolded @ (unfolded.T @ self.bases[mode])).Q
        return tucker_result(core_of(x, self.bases), self.bases)

    def result(self):
        self.restart()
        for _ in range(len(self.batches) - 1):
            last = self.round()
        return last


class WarmWeight:
    """The dense sweep: W <- W - P Qᵀ in place (P holds the step), Z = Wᵀ L, L <- orth(W Z), R = Lᵀ W. W is kept dense
    from step to step, so nothing is spent on forming it. Steps go back and forth: W stays where it is."""

    def __init__(self):
        data = load("weight")
        self.left, self.right = data["left"], data["right"]
        self.gradients = [(data[f"p{g}"], data[f"q{g}"]) for g in range(sum(key[0] == "p" for key in data))]
        self.restart()

    def restart(self):
        self.w = self.left @ self.right
        self.l = self.left
        self.step = 0

    def round(self):
        turn, g = divmod(self.step, len(self.gradients))
        p, q = self.gradients[g]
        self.w.addmm_(p, q.T, alpha=-1.0 if turn % 2 == 0 else 1.0)
        self.l = torch.linalg.qr(self.w @ (self.w.T @ self.l)).Q
        self.r = self.l.T @ self.w
        self.step += 1
        return {"left": self.l, "right": self.r}

    def result(self):
        self.restart()
        for _ in self.gradients:
            last = self.round()
        return last


class DenseGradient:
    """dW = dYᵀ X summed over batch and tokens."""

    def __init__(self):
        data = load("gradient")
        self.x, self.dy = data["x"].flatten(0, 1), data["dy"].flatten(0, 1)

    def round(self):
        return {"dw": self.dy.T @ self.x}


class ColdTucker:
    """HOSVD: every basis from the SVD of the full unfolding, then the core. Each mode may discard a third of what all
    may, so that at least the energy stays."""

    def __init__(self):
        self.x = load("activations_128x50x768")["x0"]

    def round(self):
        bases = []
        for mode in range(3):
            u, s, _ = torch.linalg.svd(unfold(self.x, mode), full_matrices=False)
            bases.append(u[:, :first_of_energy(s, 1.0 - (1.0 - ENERGY) / 3.0)])
        return tucker_result(core_of(self.x, bases), bases)


ROWS = {
    "svd_rank_sklearn": SklearnSvd,
    "svd_rank_torch": TorchLowRankSvd,
    "svd_energy": TorchFullSvd,
    "warm_activation_128x50x768": lambda: WarmActivations("activations_128x50x768"),
    "warm_activation_16x50x3072": lambda: WarmActivations("activations_16x50x3072"),
    "warm_weight": WarmWeight,
    "low_rank_gradient": DenseGradient,
    "cold_tucker": ColdTucker,
}
ROWS |= {name: lambda make=make: make(DATA) for name, make in peer_linalg.ROWS.items()}


def blas():
    """The BLAS libraries that are loaded into this process, as the system names them."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {os.path.realpath(line.split()[-1]) for line in maps if re.search(r"/lib\w*blas[^/]*\.so", line)}
    # Folder and name are enough; PyTorch brings its own inside, and libraries for cards are not at work here.
    names = {"/".join(path.split("/")[-2:]) for path in paths if "cublas" not in path}
    return ", ".join(sorted(names)) or "unknown"


def answer(work, request, arguments):
    if request == "describe":
        return (f"ok PyTorch {torch.__version__}, scikit-learn {sklearn.__version__}, scipy {scipy.__version__}, "
                f"TensorLy {peer_linalg.tensorly_version()}, numpy {np.__version__}, Python {platform.python_version()}, "
                f"{torch.get_num_threads()} threads, BLAS: {blas()}")
    name = arguments[0]
    if request == "prepare":
        work[name] = ROWS[name]()
        return "ok"
    if request == "run":
        job, times = work[name], []
        job.round()
        for _ in range(int(arguments[1])):
            start = time.perf_counter()
            job.round()
            times.append(f"{1e3 * (time.perf_counter() - start):.6f}")
        return "ms " + " ".join(times)
    if request == "write":
        job = work[name]
        result = job.result() if hasattr(job, "result") else job.round()
        result = {key: np.asarray(value) for key, value in result.items()}
        tensor_file.write(arguments[1], result, double=any(value.dtype == np.float64 for value in result.values()))
        return "ok"
    if request == "release":
        del work[name]
        return "ok"
    raise ValueError(f"unknown request {request}")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    work = {}
    with torch.inference_mode():
        for line in sys.stdin:
            request, *arguments = line.rstrip("\n").split(" ", 2)
            try:
                print(answer(work, request, arguments), flush=True)
            except Exception as error:  # the caller reports it and goes on with the next row
                print("error", type(error).__name__, str(error).replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
