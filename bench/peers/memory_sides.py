"""The two sides of memory.py: each trains in a fresh process and says what that process took."""
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# glibc keeps freed memory below its threshold, which grows with what is freed. Fixed thresholds give it back at once.
SETTINGS = {"shipped": {}, "tuned": {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}}


class Failure(RuntimeError):
    """A process that did not end well."""


def measure(command, setting, folder):
    """Runs a command in a process of its own; (its standard output, the largest resident memory in bytes).

    /usr/bin/time takes the figure from wait4. It is small itself: a child's figure starts at what its parent held when
    the child was made, so this script must not be the parent."""
    note = folder / "time.txt"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(["/usr/bin/time", "-o", note, "-f", "%M", *map(str, command)], capture_output=True, text=True,
                          env={**environment, **SETTINGS[setting]}, check=False)
    if done.returncode != 0:
        raise Failure((done.stderr.strip() or f"status {done.returncode}").splitlines()[-1])
    return done.stdout, 1024 * int(note.read_text().split()[-1])


class Peer:
    """PyTorch."""

    def __init__(self, options):
        self.data, self.out = options.data, options.out
        self.script = [sys.executable, HERE / "memory_peer.py"]

    def start(self, setting):
        return measure([*self.script, "start"], setting, self.out)

    def describe(self):
        return json.loads(self.start("shipped")[0])["version"]

    def train(self, row, batch, setting, steps):
        text, peak = measure([*self.script, *row.options, "--weights", self.data / "vit_b_32.safetensors", "--images",
                              self.data / f"images_{batch}.safetensors", "--steps", steps], setting, self.out)
        return {"peak": peak, **json.loads(text)}


class Ours:
    """wasi_vit finetune."""

    def __init__(self, options):
        self.data, self.out, self.program = options.data, options.out, options.program

    def start(self, setting):
        return measure([self.program, "finetune", "--help"], setting, self.out)

    def train(self, row, batch, setting, steps):
        """A step an epoch: the file holds one batch, which is trained on again and again."""
        run = self.out / "memory_run"
        given = {"--weights": self.data / "vit_b_32.safetensors",
                 "--data": f"tensors:{self.data / f'images_{batch}.safetensors'}",
                 "--epochs": steps, "--batch-size": batch, "--shuffle": "off", "--schedule": "constant", "--lr": 0.05,
                 "--momentum": 0, "--weight-decay": 1e-4, "--clip-norm": 0, "--threads": os.environ["OMP_NUM_THREADS"],
                 "--out": run, **row.options}
        try:
            words = (word for pair in given.items() for word in pair)
            _, peak = measure([self.program, "finetune", *words], setting, self.out)
            with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
                lines = list(csv.DictReader(file))
            summary = json.loads((run / "report.json").read_text())
        finally:
            shutil.rmtree(run, ignore_errors=True)
        # The program begins its measurements anew for each of its phases, and with them the system's own figure, which
        # wait4 reports: that is of the evaluation alone. The phases before it are in the report.
        return {"peak": max(peak, summary["peak_rss_bytes"]), "losses": [float(line["loss"]) for line in lines],
                "seconds": [float(line["seconds"]) for line in lines], "ledger": summary["ledger_peak_bytes"]["total"],
                "before_evaluation": summary["peak_rss_bytes"]}
