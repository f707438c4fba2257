#!/usr/bin/env python3
"""measure.py --root FOLDER --compiler CXX --out FOLDER [--repeats N] [--only TEXT]

What including a header of the numerics adds to a compile. For each header three sources are compiled by turns, several
times: the header alone; the headers of Eigen that it reaches, alone; and Eigen/Dense, what a program that uses Eigen pays
anyway. Seconds are processor seconds of the compiler (user and system), which other work on the machine disturbs least.
"""
import argparse
import csv
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile

FOLDERS = ("storage", "linalg", "tensor", "subspace", "rank")
FLAGS = ["-std=c++20", "-O2", "-DNDEBUG"]
EIGEN = re.compile(r"^#include <((?:unsupported/)?Eigen/[^>]+)>", re.MULTILINE)


class Compiler:
    def __init__(self, name, includes, folder):
        self.command = [name, *FLAGS, *includes]
        self.folder = folder

    def source(self, headers):
        text = "".join(f"#include <{header}>\n" for header in headers)
        path = self.folder / f"source_{abs(hash(text))}.cpp"
        path.write_text(text)
        return path

    def seconds(self, source):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*self.command, "-c", str(source), "-o", os.devnull], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def reached(self, source):
        """The files that a source includes."""
        text = subprocess.run([*self.command, "-M", str(source)], check=True, capture_output=True, text=True).stdout
        return text.replace("\\\n", " ").split()[1:]

    def lines(self, source):
        text = subprocess.run([*self.command, "-E", "-P", str(source)], check=True, capture_output=True, text=True).stdout
        return text.count("\n")


def numerics_headers(include, only):
    headers = sorted(path for folder in FOLDERS for path in (include / "wasi" / folder).glob("*.hpp"))
    names = [str(path.relative_to(include)) for path in headers]
    return [name for name in names if only in name]


def eigen_of(compiler, include, header):
    """What the header and everything of ours below it include of Eigen."""
    ours = [path for path in compiler.reached(compiler.source([header])) if path.startswith(str(include))]
    return sorted({name for path in ours for name in EIGEN.findall(pathlib.Path(path).read_text(encoding="utf-8"))})


def table(rows):
    head = ["header", "seconds", "its Eigen alone", "adds to that", "adds to Eigen/Dense", "lines"]
    cells = [[row["header"], f"{row['seconds']:.2f}", f"{row['eigen_seconds']:.2f}", f"{row['adds']:.2f}",
              f"{row['adds_to_dense']:.2f}", str(row["lines"])] for row in rows]
    widths = [max(len(line[column]) for line in [head] + cells) for column in range(len(head))]

    def text(line):
        return "| " + " | ".join(cell.ljust(widths[0]) if column == 0 else cell.rjust(widths[column])
                                 for column, cell in enumerate(line)) + " |"

    rule = "|" + "|".join("-" * (width + 2) if column == 0 else "-" * (width + 1) + ":"
                          for column, width in enumerate(widths)) + "|"
    return "\n".join([text(head), rule] + [text(line) for line in cells])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    include = options.root / "include"
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        compiler = Compiler(options.compiler, ["-I", str(include), "-isystem", options.eigen], pathlib.Path(folder))
        headers = numerics_headers(include, options.only)
        if not headers:
            sys.exit(f"no header contains {options.only!r}")
        eigen = {header: eigen_of(compiler, include, header) for header in headers}
        jobs = {("header", header): compiler.source([header]) for header in headers}
        jobs.update({("eigen", tuple(names)): compiler.source(names) for names in eigen.values()})
        jobs["dense"] = compiler.source(["Eigen/Dense"])
        seconds = {job: [] for job in jobs}
        for repeat in range(options.repeats):
            print(f"... repeat {repeat + 1} of {options.repeats}, {len(jobs)} sources", file=sys.stderr, flush=True)
            for job, source in jobs.items():
                seconds[job].append(compiler.seconds(source))
        median = {job: statistics.median(times) for job, times in seconds.items()}
        rows = []
        for header in headers:
            own, base = median["header", header], median["eigen", tuple(eigen[header])]
            rows.append({"header": header, "seconds": own, "eigen_seconds": base, "adds": own - base,
                         "adds_to_dense": own - median["dense"], "lines": compiler.lines(jobs["header", header]),
                         "fastest": min(seconds["header", header]), "slowest": max(seconds["header", header]),
                         "eigen_headers": " ".join(eigen[header])})
        version = subprocess.run([options.compiler, "--version"], capture_output=True, text=True, check=True).stdout
    text = (f"{version.splitlines()[0]}: {' '.join(FLAGS)}; medians of {options.repeats}, in processor seconds\n"
            f"Eigen/Dense alone: {median['dense']:.2f}\n\n{table(rows)}\n")
    print(text, end="")
    (options.out / "include_cost.md").write_text(text)
    with open(options.out / "include_cost.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
