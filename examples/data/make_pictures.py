#!/usr/bin/env python3
"""make_pictures.py: writes pictures/*.png, five of the digits that digits.cpp holds out, grey, 8 x 8 pixels."""
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
DIGITS = (0, 3, 4, 7, 8)
MASK = (1 << 64) - 1


def split_hash(image):
    """SplitMix64's finaliser, by which digits.cpp orders the images of a class: the last one is always held out."""
    z = (image + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows):
    height, width = len(rows), len(rows[0])
    lines = b"".join(b"\0" + bytes(row) for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def main():
    images = [list(map(int, line.split(","))) for line in (HERE / "digits.csv").read_text().splitlines()]
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    for digit in DIGITS:
        image = max((i for i, values in enumerate(images) if values[-1] == digit), key=split_hash)
        grey = [round(value * 255 / 16) for value in images[image][:64]]
        (folder / f"digit_{digit}.png").write_bytes(png([grey[8 * row:8 * row + 8] for row in range(8)]))


if __name__ == "__main__":
    main()
