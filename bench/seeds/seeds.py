#!/usr/bin/env python3
"""seeds.py --program WASI_VIT --out FOLDER [--seeds N] [--epochs N] [--only TEXT]

For each seed a small Vision Transformer is pretrained on the digits 0 to 4 and that checkpoint is fine-tuned on all ten
by each variant. Each variant is compared with its reference, seed by seed. Prints two tables and leaves seeds.md and
seeds.csv in FOLDER.
"""
import argparse
import concurrent.futures
import csv
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import report
from statistics_of_pairs import interval

LOSS_ALLOWED = -1.0  # points of accuracy; an interval wholly below is a loss
# Two runs of the same maths in another order of rounding drift apart step by step; over the first epoch they must not.
SAME_LOSS = 1e-4

CONFIG = ["--config", "image=16,patch=4,dim=128,depth=4,heads=4,mlp=512"]
COMMON = {"--layers": "all", "--energy": 0.9, "--activation-energy": 0.95, "--lr": 0.2, "--batch-size": 64}
MOMENTUM = {"--momentum": 0.9, "--lr": 0.02}
RECOMPUTE = {"--recompute": "block", "--probabilities": "recompute"}


class Variant:
    """A way to fine-tune. `reference`: the name of the variant it is compared with. `exact`: it computes the same as the
    reference in another way, so its losses must agree."""

    def __init__(self, name, options, reference=None, exact=False):
        self.name, self.options, self.reference, self.exact = name, options, reference, exact


def method(name, **options):
    return {"--method": name, **{f"--{key.replace('_', '-')}": value for key, value in options.items()}}


VARIANTS = [
    Variant("vanilla", method("vanilla")),
    Variant("wsi", method("wsi"), "vanilla"),
    Variant("asi", method("asi"), "vanilla"),
    Variant("wasi", method("wasi"), "vanilla"),
    Variant("vanilla, saved as bfloat16", method("vanilla", saved_as="bfloat16"), "vanilla"),
    Variant("vanilla, saved as half", method("vanilla", saved_as="half"), "vanilla"),
    Variant("wasi, saved as bfloat16", method("wasi", saved_as="bfloat16"), "wasi"),
    Variant("wasi, saved as half", method("wasi", saved_as="half"), "wasi"),
    Variant("factors, AdamW", method("factors", optimizer="adamw", lr=1e-3), "vanilla"),
    Variant("vanilla, momentum", {**method("vanilla"), **MOMENTUM}),
    Variant("wasi, momentum", {**method("wasi"), **MOMENTUM}, "vanilla, momentum"),
    Variant("vanilla, attention run again", method("vanilla", recompute="attention"), "vanilla", exact=True),
    Variant("vanilla, mlp run again", method("vanilla", recompute="mlp"), "vanilla", exact=True),
    Variant("vanilla, halves run again", method("vanilla", recompute="halves"), "vanilla", exact=True),
    Variant("vanilla, block and probabilities run again", {**method("vanilla"), **RECOMPUTE}, "vanilla", exact=True),
    Variant("vanilla, norm output rebuilt", method("vanilla", norm_output="rebuild"), "vanilla", exact=True),
    Variant("vanilla, GELU output rebuilt", method("vanilla", gelu_output="rebuild"), "vanilla", exact=True),
    Variant("wasi, block and probabilities run again, GELU input rebuilt",
            {**method("wasi", gelu_input="rebuild"), **RECOMPUTE}, "wasi", exact=True),
]
BY_NAME = {variant.name: variant for variant in VARIANTS}


class Runs:
    """Runs of the program, some at once, each on one thread: its results do not depend on the number of threads, and a
    model this small makes little use of a second one."""

    def __init__(self, options):
        self.program, self.out, self.epochs = options.program, options.out, options.epochs

    def folder(self, name, seed):
        return self.out / "runs" / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"

    def finetune(self, given, seed, folder):
        words = [word for pair in given.items() for word in pair]
        done = subprocess.run([str(word) for word in (
            self.program, "finetune", *words, "--epochs", self.epochs, "--seed", seed, "--threads", 1, "--out", folder)],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError((done.stderr.strip() or f"status {done.returncode}").splitlines()[-1])

    def pretrain(self, seed):
        self.finetune({CONFIG[0]: CONFIG[1], "--data": "digits:0-4", "--method": "vanilla", "--lr": 0.2}, seed,
                      self.folder("pretrain", seed))

    def run(self, variant, seed):
        """Test accuracy and the losses of all steps."""
        folder = self.folder(variant.name, seed)
        weights = self.folder("pretrain", seed) / "model.safetensors"
        self.finetune({"--weights": weights, "--classes": 10, "--data": "digits", **COMMON, **variant.options}, seed, folder)
        summary = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
            steps = list(csv.DictReader(file))
        return {"accuracy": 100.0 * summary["test_accuracy"], "images": summary["test_count"],
                "losses": [float(step["loss"]) for step in steps],
                "first_epoch": sum(step["epoch"] == steps[0]["epoch"] for step in steps)}


def loss_gap(run, reference, steps):
    """The largest relative difference of two runs' losses over the first steps."""
    if len(run["losses"]) != len(reference["losses"]):
        return math.inf
    pairs = list(zip(run["losses"], reference["losses"]))[:steps]
    return max(abs(a - b) / max(abs(a), abs(b), sys.float_info.min) for a, b in pairs)


def train_all(runs, variants, seeds):
    """({(name, seed): run}, {name: why it could not be run}); pretraining first, then seed by seed."""
    results, failures = {}, {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(runs.pretrain, seeds))
        waiting = {pool.submit(runs.run, variant, seed): (variant.name, seed) for seed in seeds for variant in variants}
        for number, future in enumerate(concurrent.futures.as_completed(waiting), 1):
            name, seed = waiting[future]
            try:
                results[name, seed] = future.result()
                said = f"{results[name, seed]['accuracy']:.1f} %"
            except (RuntimeError, OSError, KeyError, ValueError) as reason:
                failures[name] = said = str(reason)
            print(f"... {number} of {len(waiting)}: {name}, seed {seed}: {said}", file=sys.stderr, flush=True)
    return results, failures


def verdict(lower, upper):
    if upper < LOSS_ALLOWED:
        return "LOSES more than 1 point"
    return "within 1 point, or better" if lower >= LOSS_ALLOWED else "undecided: more seeds"


def accuracy_table(variants, results, seeds):
    def mean(variant):
        return statistics.fmean(results[variant.name, seed]["accuracy"] for seed in seeds)

    lines = []
    for variant in variants:
        if variant.exact:
            continue
        if variant.reference is None:
            lines.append([variant.name, "-", f"{mean(variant):.1f} %", "-", "-", "-"])
            continue
        change, lower, upper = interval(differences(variant, results, seeds))
        lines.append([variant.name, variant.reference, f"{mean(variant):.1f} %", f"{change:+.2f}",
                      f"{lower:+.2f} to {upper:+.2f}", verdict(lower, upper)])
    return report.table(["variant", "compared with", "accuracy", "difference", "95 % interval", "verdict"], lines, {0, 1, 5})


def differences(variant, results, seeds):
    """Points of accuracy above the reference, by seed."""
    return [results[variant.name, seed]["accuracy"] - results[variant.reference, seed]["accuracy"] for seed in seeds]


def exact_table(variants, results, seeds):
    """Largest differences of the losses over all seeds, or None without such variants."""
    lines = []
    for variant in variants:
        if not variant.exact:
            continue
        pairs = [(results[variant.name, seed], results[variant.reference, seed]) for seed in seeds]
        early = max(loss_gap(run, reference, reference["first_epoch"]) for run, reference in pairs)
        late = max(loss_gap(run, reference, len(reference["losses"])) for run, reference in pairs)
        worst = max(abs(change) for change in differences(variant, results, seeds))
        lines.append([variant.name, variant.reference, f"{early:.1e}", f"{late:.1e}", f"{worst:.2f}",
                      "the same bits" if late == 0.0 else "the same" if early <= SAME_LOSS else "NOT THE SAME"])
    head = ["variant", "compared with", "loss, first epoch", "loss, all steps", "accuracy, points", "verdict"]
    return report.table(head, lines, {0, 1, 5}) if lines else None


def records(variants, results, seeds):
    """Lines of the CSV: a run each."""
    lines = []
    for variant in variants:
        for seed in seeds:
            run = results[variant.name, seed]
            line = {"variant": variant.name, "seed": seed, "accuracy": run["accuracy"], "last_loss": run["losses"][-1],
                    "options": " ".join(f"{name} {value}" for name, value in {**COMMON, **variant.options}.items())}
            if variant.reference is not None:
                reference = results[variant.reference, seed]
                line.update({"reference": variant.reference, "difference": run["accuracy"] - reference["accuracy"],
                             "loss_gap_first_epoch": loss_gap(run, reference, reference["first_epoch"]),
                             "loss_gap": loss_gap(run, reference, len(reference["losses"]))})
            lines.append(line)
    return lines


def chosen_variants(text):
    """Those whose name contains the text, and their references, in the order of the list."""
    names = {variant.name for variant in VARIANTS if text.lower() in variant.name.lower()}
    while True:
        more = {BY_NAME[name].reference for name in names} - {None} - names
        if not more:
            return [variant for variant in VARIANTS if variant.name in names]
        names |= more


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", default="", help="only variants whose name contains this, and their references")
    options = parser.parse_args()
    variants = chosen_variants(options.only)
    if not variants or options.seeds < 1 or options.epochs < 1:
        parser.error("--seeds and --epochs must be at least 1" if variants else f"no variant's name contains {options.only!r}")
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    seeds = range(1, options.seeds + 1)
    results, failures = train_all(Runs(options), variants, seeds)
    # A comparison needs both sides of every pair.
    done = [variant for variant in variants if not failures.keys() & {variant.name, variant.reference}]
    parts = []
    if done:
        images = results[done[0].name, seeds[0]]["images"]
        parts = [f"{report.machine()}; {options.seeds} seeds, {options.epochs} epochs, {images} test images\n"
                 "difference: mean over the seeds of the accuracy less that of the reference, same seed and same pretrained "
                 "model, in points;\nits interval is Student's t. One test image is "
                 f"{100.0 / images:.2f} points.", accuracy_table(done, results, seeds)]
        exact = exact_table(done, results, seeds)
        if exact:
            parts += ["These compute the same in another way: the largest relative difference of the loss, and of the "
                      "accuracy, of any seed", exact]
        report.write_csv(options.out / "seeds.csv", records(done, results, seeds))
    if failures:
        parts.append("Could not be run:\n" + "\n".join(f"- {name}: {reason}" for name, reason in failures.items()))
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    (options.out / "seeds.md").write_text(text, encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
