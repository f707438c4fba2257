#!/usr/bin/env python3
"""memory_step.py TITLE=memory.csv ... >memory_step.svg: memory by class along one training step, a panel a run.

memory.csv is what `wasi_vit finetune` leaves in its folder. The time axis counts allocations and releases. In each
column of pixels the moment at which most is alive is drawn, so peaks are true. Only the standard library is needed."""
import csv
import html
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 190, 78, 34, 58
COLOURS = {"weight": "#4c6a92", "optimiser_state": "#8aa4c8", "input": "#b8b8b8", "saved_activation": "#d98b4a",
           "saved_input": "#edc08e", "gradient": "#6a9f76", "workspace": "#b5d3ba"}
MIB = 1024.0 * 1024.0


def read(path):
    """(rows of bytes by class, marks as (position, label)), both in order of time."""
    rows, marks = [], []
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["mark"]:
                marks.append((len(rows), line["mark"]))
            rows.append([float(line[name]) for name in COLOURS])
    return rows, marks


def columns(rows):
    """One row for each column of pixels: of those that fall into it the one with the largest sum."""
    result = []
    for column in range(WIDTH):
        begin = column * len(rows) // WIDTH
        end = max(begin + 1, (column + 1) * len(rows) // WIDTH)
        result.append(max(rows[begin:end], key=sum))
    return result


def outline(points):
    """The points of a line without those in the middle of a level stretch."""
    return [point for i, point in enumerate(points)
            if i in (0, len(points) - 1) or not points[i - 1][1] == point[1] == points[i + 1][1]]


def nice_step(most):
    """A round distance of grid lines, in MiB, for about four of them."""
    step = 1.0
    while most / step > 5.0:
        step *= 2.0 if str(step)[0] in "15" else 2.5
    return step


def panel(title, path, top):
    """The SVG of one run, and the y below it."""
    rows, marks = read(path)
    drawn = columns(rows)
    most = max(map(sum, drawn)) / MIB
    scale = HEIGHT / (most * 1.06)
    out = [f'<text class="title" x="{LEFT}" y="{top - 12}">{html.escape(title)}: {most:.0f} MiB at the peak</text>']
    step = nice_step(most)
    level = 0.0
    while level <= most * 1.06:
        y = top + HEIGHT - level * scale
        out.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
                   f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{level:g} MiB</text>')
        level += step
    below = [0.0] * WIDTH
    for index, colour in enumerate(COLOURS.values()):
        above = [low + row[index] / MIB for low, row in zip(below, drawn)]
        edge, back = (outline([(LEFT + x, round(top + HEIGHT - value * scale, 1)) for x, value in enumerate(line)])
                      for line in (above, below))
        points = " ".join(f"{x},{y:g}" for x, y in edge + back[::-1])
        if above != below:
            out.append(f'<polygon points="{points}" fill="{colour}"/>')
        below = above
    last, line = -1e9, 0
    for position, label in marks:
        x = LEFT + position * WIDTH / len(rows)
        line = line + 1 if x - last < 60 else 0  # labels that would overlap go one below the other
        last = x
        out.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + HEIGHT}"/>'
                   f'<text class="axis" x="{x + 4:.1f}" y="{top + 12 + 13 * line}">{html.escape(label)}</text>')
    return out, top + HEIGHT + GAP


def main(arguments):
    if not arguments or any("=" not in argument for argument in arguments):
        sys.exit(__doc__)
    body, top = [], TOP
    for argument in arguments:
        title, path = argument.split("=", 1)
        part, top = panel(title, path, top)
        body += part
    x = LEFT
    for name, colour in COLOURS.items():
        text = name.replace("_", " ")
        body.append(f'<rect x="{x}" y="{top - 36}" width="11" height="11" fill="{colour}"/>'
                    f'<text class="axis" x="{x + 16}" y="{top - 26}">{text}</text>')
        x += 34 + 7 * len(text)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 16} {top - 12}" '
          f'font-family="sans-serif"><style>.title{{font-size:14px;fill:#222}}.axis{{font-size:11px;fill:#555}}'
          f'.grid{{stroke:#ddd}}.mark{{stroke:#222;stroke-dasharray:3 3}}</style>'
          f'<rect width="100%" height="100%" fill="#fff"/>')
    print("\n".join(body))
    print("</svg>")


if __name__ == "__main__":
    main(sys.argv[1:])
