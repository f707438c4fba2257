#!/usr/bin/env python3
"""memory.py --data FOLDER --program WASI_VIT --out FOLDER [--only TEXT] [--repeats N] [--steps N]

Trains ViT-B/32 in PyTorch and in wasi on the same weights and images, each time in a fresh process, and prints what the
operating system says each process took at most. Also leaves memory.csv and memory.md in FOLDER. A missed target is
marked and no error; something that could not be run is one, and so are losses that are not the same.
"""
import argparse
import os
import pathlib
import statistics
import sys
import time

import report
from memory_sides import SETTINGS, Failure, Ours, Peer

BATCHES = (16, 64)
SAME_LOSS = 1e-3  # losses of the dense trainings may differ by this

PEER, OURS = "PyTorch", "ours"
SAVING = {"--recompute": "block"}
SAVING_LOW_RANK = {**SAVING, "--gelu-input": "rebuild"}  # for a low-rank fc1 only: rebuilt from X Rᵀ
RANKS = {"--activation-ranks": "8,4,8"}
ALL = {"--method": "wasi", "--layers": "all", "--energy": "0.6", **RANKS}
MLP = {"--method": "wasi", "--layers": "mlp", "--energy": "0.9", **RANKS}


class Row:
    """One way to train; `options` are what the program is told."""

    def __init__(self, side, name, options):
        self.side, self.name, self.options = side, name, options

    def text(self):
        return f"{self.side}: {self.name}"


PEER_VANILLA = Row(PEER, "vanilla", ["vanilla"])
PEER_FREED = Row(PEER, "vanilla, zero_grad(set_to_none=True)", ["vanilla", "--gradients", "free"])
PEER_CHECKPOINT = Row(PEER, "each block under checkpoint", ["checkpoint"])
VANILLA = Row(OURS, "vanilla", {"--method": "vanilla"})
VANILLA_SAVING = Row(OURS, "vanilla, saving", {"--method": "vanilla", **SAVING})
WASI_ALL = Row(OURS, "wasi, all layers, energy 0.6", ALL)
WASI_ALL_SAVING = Row(OURS, "wasi, all layers, energy 0.6, saving", {**ALL, **SAVING_LOW_RANK})
WASI_MLP = Row(OURS, "wasi, mlp, energy 0.9", MLP)
WASI_MLP_SAVING = Row(OURS, "wasi, mlp, energy 0.9, saving", {**MLP, **SAVING_LOW_RANK})
ROWS = [PEER_VANILLA, PEER_FREED, PEER_CHECKPOINT, VANILLA, VANILLA_SAVING, WASI_ALL, WASI_ALL_SAVING, WASI_MLP,
        WASI_MLP_SAVING]

# Peak of the first over the peak of the second, at least so much at each batch size.
PEAK_TARGETS = [(PEER_VANILLA, VANILLA, (1.5, 1.5)), (PEER_VANILLA, WASI_ALL_SAVING, (10, 10)),
                (PEER_CHECKPOINT, WASI_ALL_SAVING, (5, 4)), (PEER_VANILLA, WASI_MLP_SAVING, (3, 5))]
# Step time of the first over that of the second, at most so much. These rows are run by turns.
TIME_TARGETS = [(WASI_ALL_SAVING, WASI_ALL, 1.4), (WASI_MLP_SAVING, WASI_MLP, 1.4)]
TIMED = {row for saving, plain, _ in TIME_TARGETS for row in (saving, plain)}


class Figures:
    """What was measured of a row at a batch size: peaks by setting, seconds of the steps after the first as shipped,
    losses of the first run."""

    def __init__(self):
        self.peaks, self.seconds, self.losses = {}, [], []
        self.ledger = self.before_evaluation = self.failure = None

    def add(self, setting, run):
        self.peaks.setdefault(setting, []).append(run["peak"])
        if setting == "shipped":
            self.seconds += run["seconds"][1:]
            self.losses = self.losses or run["losses"]
            self.ledger, self.before_evaluation = run.get("ledger"), run.get("before_evaluation")

    def peak(self, setting):
        return statistics.median(self.peaks[setting]) if setting in self.peaks else None

    def step(self):
        return statistics.median(self.seconds) if self.seconds else None


def measure_batch(batch, rows, sides, options):
    """Figures of the rows at one batch size. As shipped, the timed rows are run `repeats` times by turns; one step after
    the first is enough with glibc's thresholds set, where only the peak is wanted."""
    steps = options.steps or (3 if batch <= 16 else 2)
    figures = {row: Figures() for row in rows}
    turns = [("shipped", row, 1 + steps) for row in rows]
    timed = [row for row in rows if row in TIMED]
    for repeat in range(1, options.repeats):
        turns += [("shipped", row, 1 + steps) for row in (timed[::-1] if repeat % 2 == 1 else timed)]
    turns += [("tuned", row, 2) for row in rows]
    for setting, row, count in turns:
        if figures[row].failure:
            continue
        begin = time.monotonic()
        try:
            figures[row].add(setting, sides[row.side].train(row, batch, setting, count))
        except (Failure, OSError, KeyError, ValueError) as reason:
            figures[row].failure = str(reason)
        print(f"... batch {batch}, {row.text()}, {setting}: {time.monotonic() - begin:.0f} s", file=sys.stderr,
              flush=True)
    return figures


def ratio(one, other):
    return None if one is None or other is None or other <= 0 else one / other


def records(figures, starts):
    """Lines of the CSV. Net peaks are as shipped, less what the process holds that only starts."""
    result = []
    for batch, rows in figures.items():
        def net(row):
            peak = rows[row].peak("shipped") if row in rows else None
            return None if peak is None else peak - starts[row.side]["shipped"]

        for row, figure in rows.items():
            base = rows.get(PEER_VANILLA, Figures())
            entry = {"batch": batch, "system": row.side, "training": row.name, "net_bytes": net(row),
                     "net_ratio": ratio(net(PEER_VANILLA), net(row)), "step_seconds": figure.step(),
                     "steps_timed": len(figure.seconds), "first_loss": figure.losses[0] if figure.losses else None,
                     "ledger_bytes": figure.ledger, "before_evaluation_bytes": figure.before_evaluation,
                     "failure": figure.failure}
            for setting in SETTINGS:
                entry[f"{setting}_bytes"] = figure.peak(setting)
                entry[f"{setting}_ratio"] = ratio(base.peak(setting), figure.peak(setting))
            result.append(entry)
    return result


def verdicts(figures):
    """Lines of the table of targets, of what was run."""
    lines = []
    for position, batch in enumerate(BATCHES):
        rows = figures.get(batch, {})
        for larger, smaller, targets in PEAK_TARGETS:
            if larger in rows and smaller in rows:
                value = ratio(rows[larger].peak("shipped"), rows[smaller].peak("shipped"))
                met = value is not None and value >= targets[position]
                lines.append((batch, f"peak of {larger.text()} / {smaller.text()}", value, f">= {targets[position]:g}",
                              met))
        for slower, faster, target in TIME_TARGETS:
            if slower in rows and faster in rows:
                value = ratio(rows[slower].step(), rows[faster].step())
                lines.append((batch, f"step of {slower.text()} / without saving", value, f"<= {target:g}",
                              value is not None and value <= target))
    return lines


def loss_lines(figures):
    """Whether both sides' dense trainings compute the same: the loss of the first batch."""
    lines = []
    for batch, rows in figures.items():
        theirs, ours = (rows[row].losses if row in rows else [] for row in (PEER_VANILLA, VANILLA))
        if theirs and ours:
            gap = abs(theirs[0] - ours[0])
            later = max(abs(a - b) for a, b in zip(theirs, ours))
            lines.append(f"batch {batch}: loss of the first batch {theirs[0]:.6f} in PyTorch, {ours[0]:.6f} in ours, "
                         f"{'equal' if gap <= SAME_LOSS else 'NOT EQUAL'} within {SAME_LOSS:g} (vanilla; over "
                         f"{min(len(theirs), len(ours))} steps they differ by {later:.1e} at most)")
    return lines


def shown(value, form, scale=1.0):
    return "-" if value is None else format(value / scale, form)


def peak_table(entries):
    head = ["batch", "training", "peak MB", "ratio", "malloc set, MB", "ratio", "net MB", "ratio", "step s"]
    def name(entry):
        return f"{entry['system']}: {entry['training']}" + (" (could not be run)" if entry["failure"] else "")

    return report.table(head, [
        [str(entry["batch"]), name(entry),
         shown(entry["shipped_bytes"], ".0f", 1e6), shown(entry["shipped_ratio"], ".2f"),
         shown(entry["tuned_bytes"], ".0f", 1e6), shown(entry["tuned_ratio"], ".2f"),
         shown(entry["net_bytes"], ".0f", 1e6), shown(entry["net_ratio"], ".2f"),
         shown(entry["step_seconds"], ".2f")] for entry in entries], {1})


def target_table(lines):
    return report.table(["batch", "ratio of", "measured", "target", "verdict"],
                        [[str(batch), what, shown(value, ".2f"), target,
                          "met" if met else "could not be run" if value is None else "MISSED"]
                         for batch, what, value, target, met in lines], {1, 4})


def about(sides, starts, load):
    lines = [f"{report.machine()}; load before the start {load:.2f}; "
             f"{os.environ['OMP_NUM_THREADS']} threads on both sides",
             "ViT-B/32, 224 x 224, float32, SGD with weight decay, no clipping. Each figure is of a fresh process",
             f"peak: the largest resident memory of the process (wait4), all included: {sides[PEER].describe()} with its "
             "interpreter, ours with loading, factorizing and the accuracy at the end",
             "malloc set: " + ", ".join(f"{name}={value}" for name, value in SETTINGS["tuned"].items()),
             "net: less what the process takes that only starts, " +
             ", ".join(f"{side} {starts[side]['shipped'] / 1e6:.0f} MB" for side in sides),
             "ratio: PyTorch vanilla at the same batch size over this line. saving: with " +
             " ".join(f"{name} {value}" for name, value in SAVING_LOW_RANK.items()) + " (the last for wasi)"]
    if load > 0.5:
        lines.append("The machine was NOT IDLE: times are not to be quoted.")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("data", "program", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--repeats", type=int, default=2, help="runs of each row whose time is compared")
    parser.add_argument("--steps", type=int, default=0,
                        help="measured steps a run after the first (3 at batch 16, 2 at 64)")
    parser.add_argument("--only", default="", help="only rows whose text, as `batch 16, wasi: vanilla`, contains this")
    options = parser.parse_args()
    chosen = {batch: [row for row in ROWS if options.only.lower() in f"batch {batch}, {row.text()}".lower()]
              for batch in BATCHES}
    rows = [row for batch in BATCHES for row in chosen[batch]]
    if not rows or options.repeats < 1 or options.steps < 0:
        parser.error("--repeats and --steps must be at least 1" if rows else f"no row contains {options.only!r}")
    options.out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    sides = {PEER: Peer(options), OURS: Ours(options)}
    starts = {side: {setting: asked.start(setting)[1] for setting in SETTINGS} for side, asked in sides.items()}
    heading = about(sides, starts, load)
    figures = {batch: measure_batch(batch, chosen[batch], sides, options) for batch in BATCHES if chosen[batch]}
    entries = records(figures, starts)
    losses = loss_lines(figures)
    parts = ["\n".join(heading), peak_table(entries), "\n".join(losses)]
    targets = verdicts(figures)
    if targets:
        parts.append(target_table(targets))
    text = "\n\n".join(part for part in parts if part) + "\n"
    print(text, end="")
    (options.out / "memory.md").write_text(text, encoding="utf-8")
    report.write_csv(options.out / "memory.csv", entries)
    (options.out / "time.txt").unlink(missing_ok=True)
    failures = [entry for entry in entries if entry["failure"]]
    for entry in failures:
        print(f"batch {entry['batch']}, {entry['system']}: {entry['training']}: {entry['failure']}", file=sys.stderr)
    return 1 if failures or any("NOT EQUAL" in line for line in losses) else 0


if __name__ == "__main__":
    sys.exit(main())
