"""What the scripts in Python share: tables, CSV files and words about the machine."""
import csv
import os
import pathlib
import platform
import re


def table(head, lines, left):
    """A Markdown table of strings, padded so that it reads well as text too. Columns whose number is in `left` are flush
    left, the others flush right."""
    widths = [max(len(line[column]) for line in [head] + lines) for column in range(len(head))]

    def text(line):
        return "| " + " | ".join(cell.ljust(width) if column in left else cell.rjust(width)
                                 for column, (cell, width) in enumerate(zip(line, widths))) + " |"

    rule = "|" + "|".join("-" * (width + 2) if column in left else "-" * (width + 1) + ":"
                          for column, width in enumerate(widths)) + "|"
    return "\n".join([text(head), rule] + [text(line) for line in lines])


def write_csv(path, rows):
    """Dicts as a CSV file; a column for every key, in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def processor():
    """The processor's name where Linux tells it, else its architecture."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return names[0] if names else platform.machine()


def machine():
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()}"
