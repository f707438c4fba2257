#!/usr/bin/env python3
"""compare.py --data FOLDER --program PEERS_NUMERICS --compile-commands FILE --out FOLDER [--repeats N]

Runs peer.py and peers_numerics by turns on the same files, checks what both wrote and prints one table. Also leaves
numerics.csv, numerics.md and the machine in FOLDER. A missed target is marked and no error; something that could not be
run is one.
"""
import argparse
import json
import math
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time

import numpy as np

import check
import report
import tensor_file

BLOCK_MS = 250.0  # a request runs as many rounds as fit into this, at least 1, at most 20
PAUSE = 0.15  # seconds before a request, in which the other side's threads fall asleep
EQUAL = "equal"
SLACK = 1.005  # errors count as equal up to this factor
TENTH = math.sqrt(0.1)  # the error of what holds 0.9 of the energy

QB_TOLERANCE = 1e-6

PEER, OURS = "peer", "ours"
PCA = "PCA of (100000,64) around 1e4, 8 components"
SPARSE = "SVD of sparse 20000 x 5000, rank 32"


class Line:
    """A line of the table: our row against a row of the peer's. `allowed`: how large our error may be at most, a number
    or EQUAL to the peer's; None where the errors are of different kinds. `rivals_only`: the target holds against a peer
    whose error is no larger than ours, another one may be faster."""

    def __init__(self, work, peer_name, peer, ours, target, allowed, rivals_only=False):
        self.work, self.peer_name, self.peer, self.ours = work, peer_name, peer, ours
        self.target, self.allowed, self.rivals_only = target, allowed, rivals_only


class Group:
    """Lines on the same data, whose rows take turns. `data`: the file that the checker reads."""

    def __init__(self, data, checker, lines):
        self.data, self.checker, self.lines = data, checker, lines

    def participants(self):
        return list(dict.fromkeys([(PEER, line.peer) for line in self.lines] + [(OURS, line.ours) for line in self.lines]))


def last_batch(tensors):
    return tensors[max(tensors)]


GROUPS = [
    Group("matrix", check.svd, [
        Line("SVD of 3072 x 768, rank 64", "scikit-learn randomized_svd (LU, 2 passes)", "svd_rank_sklearn", "svd_rank",
             1.5, EQUAL),
        Line("SVD of 3072 x 768, rank 64", "torch.svd_lowrank (2 passes)", "svd_rank_torch", "svd_rank", 5.0, EQUAL),
    ]),
    Group("matrix", check.svd, [
        Line("SVD to energy 0.9, randomized_svd picks the route", "torch.linalg.svd, then cut", "svd_energy",
             "svd_energy_chosen", 1.2, TENTH),
        Line("SVD to energy 0.9, truncated_svd", "torch.linalg.svd, then cut", "svd_energy", "svd_energy_dense", 1.2,
             TENTH),
    ]),
    Group("activations_128x50x768", lambda data, result: check.tucker(last_batch(data), result), [
        Line("warm activation step (128,50,768), ranks (8,4,8)", "per-mode sweep in PyTorch",
             "warm_activation_128x50x768", "warm_activation_128x50x768", 8.0, EQUAL)]),
    Group("activations_16x50x3072", lambda data, result: check.tucker(last_batch(data), result), [
        Line("warm activation step (16,50,3072), ranks (8,4,8)", "per-mode sweep in PyTorch",
             "warm_activation_16x50x3072", "warm_activation_16x50x3072", 8.0, EQUAL)]),
    Group("weight", check.weight, [
        Line("warm weight step 3072 x 768, K = 373, gradient rank 8", "dense sweep in PyTorch", "warm_weight",
             "warm_weight", 10.0, EQUAL)]),
    Group("gradient", check.gradient, [
        Line("low-rank gradient (16,50), 768 -> 3072, ranks (8,4,8)", "dense product in PyTorch", "low_rank_gradient",
             "low_rank_gradient", 10.0, None)]),
    Group("activations_128x50x768", lambda data, result: check.tucker(data["x0"], result), [
        Line("Tucker of (128,50,768), cold, to energy 0.9", "per-mode torch.linalg.svd", "cold_tucker",
             "cold_tucker", 5.0, TENTH)]),
    Group("variances", check.variances, [
        Line(PCA, f"scikit-learn PCA ({solver})", f"pca_{solver.split('_')[0]}", "pca", 1.0, EQUAL, rivals_only=True)
        for solver in ("covariance_eigh", "full", "randomized")]),
    Group("variances", check.variances, [
        Line("PCA of the same in batches of 1000, 16 components", "scikit-learn IncrementalPCA", "incremental_pca",
             "incremental_pca", 1.0, EQUAL, rivals_only=True)]),
    Group("exponential", check.qb, [
        Line("QB of 2000 x 1000 to 1e-6", "scipy interp_decomp (rand, same error)", "qb_interpolative", "qb", 1.0,
             QB_TOLERANCE),
        Line("QB of 2000 x 1000 to 1e-6", "scikit-learn randomized_range_finder, doubled", "qb_range_finder", "qb", 1.0,
             QB_TOLERANCE)]),
    Group("documents", check.values, [
        Line(SPARSE, "scikit-learn randomized_svd (same error)", "sparse_sklearn", "sparse_default", 1.0, EQUAL),
        Line(SPARSE, "scipy svds (ARPACK, tol 0.1)", "sparse_arpack", "sparse_default", 1.0, EQUAL),
        Line(SPARSE, "scipy svds (PROPACK, tol 0.1)", "sparse_propack", "sparse_default", 1.0, EQUAL),
        Line(SPARSE + ", block Krylov, 23 steps of 8", "scipy svds (PROPACK, tol 0.05)", "sparse_propack_fine", "sparse_krylov",
             1.0, EQUAL)]),
    Group("flat_values", check.values, [
        Line("SVD of 3000 x 2000 normals, rank 20", "scikit-learn randomized_svd (same error)", "flat_sklearn",
             "flat_default", 1.0, EQUAL),
        Line("SVD of 3000 x 2000 normals, rank 20, block Krylov", "scikit-learn randomized_svd (same error)",
             "flat_sklearn_krylov", "flat_krylov", 1.0, EQUAL)]),
    Group("activations_128x50x768", lambda data, result: check.tucker(data["x0"], result), [
        Line("Tucker of (128,50,768) to ranks (8,4,8)", "TensorLy tucker", "tucker_tensorly", "tucker", 1.0, EQUAL),
        Line("Tucker of (128,50,768), modes 2 and 3, ranks (4,8)", "TensorLy partial_tucker", "partial_tucker_tensorly",
             "partial_tucker", 1.0, EQUAL)]),
]


class Side:
    """A process that answers requests."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        verdict, _, rest = answer.partition(" ")
        if verdict not in ("ok", "ms"):
            raise RuntimeError(f"{' '.join(map(str, words))}: {rest or 'the process ended'}")
        return rest

    def times(self, row, rounds):
        return [float(word) for word in self.ask("run", row, rounds).split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Timing:
    """The times of a row: a list of rounds for each repeat."""

    def __init__(self):
        self.repeats = []

    def rounds(self):
        return [t for repeat in self.repeats for t in repeat]

    def median(self):
        return statistics.median(self.rounds())

    def quartiles(self):
        return [float(q) for q in np.percentile(self.rounds(), [25, 75])]


def measure(group, sides, repeats):
    """Rows by turns; who begins changes with every repeat."""
    rows = group.participants()
    rounds = {}
    for side, row in rows:
        sides[side].ask("prepare", row)
        first = sides[side].times(row, 1)[0]
        rounds[side, row] = max(1, min(20, math.ceil(BLOCK_MS / max(first, 1e-3))))
    timings = {row: Timing() for row in rows}
    for repeat in range(repeats):
        turn = repeat % len(rows)
        for side, row in rows[turn:] + rows[:turn]:
            time.sleep(PAUSE)
            timings[side, row].repeats.append(sides[side].times(row, rounds[side, row]))
    return timings


def judge(group, sides, folders):
    """What each row of the group wrote, as figures of check.py and a remark."""
    data = check.doubles(tensor_file.read(folders.data / f"{group.data}.safetensors"))
    figures = {}
    for side, row in group.participants():
        path = folders.out / f"{side}_{row}.safetensors"
        note = sides[side].ask("write", row, path)
        figures[side, row] = dict(group.checker(data, check.doubles(tensor_file.read(path))), note=note)
        sides[side].ask("release", row)
        path.unlink()
    return figures


def record(line, timings, figures):
    """A line of the CSV."""
    peer, ours = timings[PEER, line.peer], timings[OURS, line.ours]
    theirs, mine = figures[PEER, line.peer], figures[OURS, line.ours]
    paired = [statistics.median(p) / statistics.median(o) for p, o in zip(peer.repeats, ours.repeats)]
    ratio = peer.median() / ours.median()
    allowed = theirs["error"] if line.allowed == EQUAL else line.allowed
    accurate = allowed is None or mine["error"] <= SLACK * allowed
    rival = not line.rivals_only or theirs["error"] <= SLACK * mine["error"]
    fast = ratio >= line.target or not rival
    result = {"work": line.work, "peer": line.peer_name, "peer_ms": peer.median(), "ours_ms": ours.median(), "ratio": ratio,
              "target": line.target, "peer_error": theirs["error"], "our_error": mine["error"],
              "error_allowed": "" if allowed is None else allowed, "fast": fast, "accurate": accurate,
              "met": fast and accurate, "rival": rival,
              "ratio_lowest": min(paired), "ratio_highest": max(paired)}
    for name, timing in (("peer", peer), ("our", ours)):
        result[f"{name}_ms_quarter"], result[f"{name}_ms_three_quarters"] = timing.quartiles()
        result[f"{name}_ms_mean"] = statistics.fmean(timing.rounds())
        result[f"{name}_rounds"] = len(timing.rounds())
    for name, figure in (("peer", theirs), ("our", mine)):
        result.update({f"{name}_{key}": value for key, value in figure.items() if key != "error"})
    return result


def failed(line, reason):
    return {"work": line.work, "peer": line.peer_name, "target": line.target, "met": False, "failure": str(reason)}


def verdict(row):
    if "failure" in row:
        return "could not be run"
    met = "met" if row["rival"] or row["ratio"] >= row["target"] else "met: peer less accurate"
    return (met if row["fast"] else "MISSED") + ("" if row["accurate"] else ", ERROR TOO LARGE")


def table(rows):
    def figure(row, key, form):
        return format(row[key], form) if key in row else "-"

    head = ["work", "peer", "peer ms", "ours ms", "ratio", "target", "peer's error", "our error", "verdict"]
    cells = [[row["work"], row["peer"], figure(row, "peer_ms", ".2f"), figure(row, "ours_ms", ".2f"),
              figure(row, "ratio", ".2f"), f">= {row['target']:g}", figure(row, "peer_error", ".2e"),
              figure(row, "our_error", ".2e"), verdict(row)] for row in rows]
    return report.table(head, cells, {0, 1, 8})


def compiler(commands):
    """Compiler and flags with which our program was really built, without its paths."""
    entry = next(entry for entry in json.loads(commands.read_text()) if entry["file"].endswith("/peers/numerics.cpp"))
    words = shlex.split(entry["command"])
    version = subprocess.run([words[0], "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    flags = [word for word in words[1:] if re.match(r"-(O|D|std|m|f|g)", word)]
    return f"{version}: {' '.join(flags)}"


def machine(sides, commands, repeats, load):
    lines = [f"{report.machine()}; load before the start {load:.2f}",
             f"peers: {sides[PEER].ask('describe')}",
             f"ours: {sides[OURS].ask('describe')}, {compiler(commands)}",
             f"times: medians of {repeats} repeats by turns; errors: relative, in double, of the reconstruction in the "
             "Frobenius norm or the largest of a value; met: fast enough and no less accurate than the peer, or than what was "
             "asked for"]
    if load > 0.5:
        lines.append("The machine was NOT IDLE: times are not to be quoted.")
    if re.search(r"\bblas/libblas\.so", lines[1]):
        lines.append("The peers ran on the REFERENCE BLAS: install libopenblas0-pthread for a fair comparison.")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("data", "program", "compile-commands", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", default="", help="only lines of whose work or peer this is a part, and those they share data with")
    options = parser.parse_args()
    groups = [group for group in GROUPS
              if any(options.only.lower() in f"{line.work} {line.peer_name}".lower() for line in group.lines)]
    if not groups or options.repeats < 1:
        parser.error(f"no line of the table contains {options.only!r}" if not groups else "--repeats must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    here = pathlib.Path(__file__).resolve().parent
    sides = {PEER: Side([sys.executable, "-B", str(here / "peer.py"), str(options.data)]),
             OURS: Side([str(options.program), str(options.data)])}
    about = machine(sides, options.compile_commands, options.repeats, load)
    rows = []
    for group in groups:
        print(f"... {group.lines[0].work}", file=sys.stderr, flush=True)
        try:
            timings = measure(group, sides, options.repeats)
            figures = judge(group, sides, options)
            rows += [record(line, timings, figures) for line in group.lines]
        except (RuntimeError, OSError, KeyError, ValueError) as reason:
            rows += [failed(line, reason) for line in group.lines]
    for side in sides.values():
        side.close()

    text = "\n".join(about) + "\n\n" + table(rows) + "\n"
    print(text, end="")
    (options.out / "numerics.md").write_text(text)
    report.write_csv(options.out / "numerics.csv", rows)
    failures = [row for row in rows if "failure" in row]
    for row in failures:
        print(f"{row['work']}, {row['peer']}: {row['failure']}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
