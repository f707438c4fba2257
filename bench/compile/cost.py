#!/usr/bin/env python3
"""cost.py --root FOLDER --out FOLDER [--compiler CXX] [--flags TEXT] [--repeats N] [--only TEXT]

Seconds and megabytes of the compiler for each public header alone and for the users' files of bench/compile/users/:
header-only, and with what wasi::compiled defines. Seconds are processor seconds (user and system), which other work on
the machine disturbs least; the fewest of N runs counts. Megabytes are the largest resident memory.
"""
import argparse
import os
import pathlib
import shlex
import sys
import tempfile

INTERNAL = ("/compiled.hpp", "/bodies.hpp", "/declarations.hpp", "/kernels.hpp")


def cost(command):
    """Processor seconds and megabytes of one command."""
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"failed: {shlex.join(command)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000.0


def public_headers(include, only):
    names = sorted(str(path.relative_to(include)) for path in (include / "wasi").rglob("*.hpp"))
    return [name for name in names
            if only in name and not name.endswith(INTERNAL) and not name.startswith("wasi/storage/eigen/")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--flags", default="-O2 -march=native -mtune=generic -fopenmp")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    include = options.root / "include"
    options.out.mkdir(parents=True, exist_ok=True)
    command = [options.compiler, "-std=c++20", *shlex.split(options.flags), "-I", str(include), "-isystem",
               options.eigen, "-o", os.devnull, "-c"]
    lines = ["| file | header-only, s | MB | wasi::compiled, s | MB |", "|---|---:|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        sources = [(path.name, path) for path in sorted((options.root / "bench/compile/users").glob("*.cpp"))
                   if options.only in path.name]
        for name in public_headers(include, options.only):
            source = pathlib.Path(folder) / f"{name.replace('/', '_')}.cpp"
            source.write_text(f"#include <{name}>\n")
            sources.append((name, source))
        print("\n".join(lines), flush=True)
        for name, source in sources:
            cells = []
            for macros in ([], ["-DWASI_EXTERN_TEMPLATES"]):
                runs = [cost([*command, str(source), *macros]) for _ in range(options.repeats)]
                cells += [f"{min(run[0] for run in runs):.1f}", f"{min(run[1] for run in runs):.0f}"]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    (options.out / "cost.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
