#!/usr/bin/env python3
"""Writes what Pillow and torchvision make of a few tiny pictures, for the tests of wasi::pictures.

Run:  python3 make_picture_golden.py [OUTPUT_FILE]     (default: picture_golden.safetensors beside this script)
Needs Pillow 13, NumPy, PyTorch, torchvision and safetensors; no network. The tests only read the file.

file.NAME (bytes) is a picture file, rgb.NAME (H, W, 3) its pixels as Pillow has them, upright, what is transparent laid
over white. resize.source is resized to resize.bicubic.WxH and resize.bilinear.WxH; prepare.* are Resize(20) and
CenterCrop(17) of torchvision on parts of it.
"""

import io
import os
import sys

import numpy
import torch
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from torchvision import transforms

tensors = {}


def smooth(random, width, height, channels):
    """Colours that JPEG does not choke on."""
    small = random.randint(0, 256, (max(2, height // 6), max(2, width // 6), channels), dtype=numpy.uint8)
    planes = [Image.fromarray(small[..., c]).resize((width, height), Image.BICUBIC) for c in range(channels)]
    return numpy.stack([numpy.asarray(plane) for plane in planes], axis=-1)


def over_white(image):
    rgba = numpy.asarray(image.convert("RGBA")).astype(numpy.int64)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(numpy.uint8)


def add(name, image, format, rgb=None, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    tensors["file." + name] = numpy.frombuffer(file.getvalue(), numpy.uint8)
    read = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    tensors["rgb." + name] = numpy.asarray(read.convert("RGB")) if rgb is None else rgb


def main():
    output = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                                 "picture_golden.safetensors")
    random = numpy.random.RandomState(12)
    colour = Image.fromarray(smooth(random, 37, 29, 3))
    add("jpeg_444", colour, "JPEG", quality=90, subsampling=0)
    add("jpeg_420", colour, "JPEG", quality=75, subsampling=2)
    add("jpeg_422_restarts", colour, "JPEG", quality=75, subsampling=1, restart_marker_blocks=2)
    add("jpeg_progressive", colour, "JPEG", quality=80, progressive=True)
    add("jpeg_grey", colour.convert("L"), "JPEG", quality=90)
    add("jpeg_cmyk", Image.fromarray(smooth(random, 19, 13, 4), "CMYK"), "JPEG", quality=95)
    add("jpeg_one_pixel", colour.crop((3, 3, 4, 4)), "JPEG")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        add(f"jpeg_exif_{orientation}", colour.crop((0, 0, 21, 11)), "JPEG", quality=90, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    add("png_exif_6", colour.crop((0, 0, 9, 5)), "PNG", exif=exif)
    noise = random.randint(0, 256, (11, 13, 4), dtype=numpy.uint8)
    add("png_rgb", Image.fromarray(noise[..., :3]), "PNG")
    add("png_grey", Image.fromarray(noise[..., 0]), "PNG")
    add("png_bits", Image.fromarray(noise[..., 0] > 127), "PNG")
    palette = Image.fromarray(noise[..., :3]).quantize(7)
    add("png_palette", palette, "PNG")
    add("png_palette_transparent", palette, "PNG", rgb=False, transparency=3)
    add("png_alpha", Image.fromarray(noise), "PNG", rgb=over_white(Image.fromarray(noise)))
    grey_alpha = Image.fromarray(noise[..., :2], "LA")
    add("png_grey_alpha", grey_alpha, "PNG", rgb=over_white(grey_alpha))
    wide = random.randint(0, 65536, (7, 5), dtype=numpy.uint16)
    high = numpy.repeat((wide >> 8).astype(numpy.uint8)[..., None], 3, axis=-1)
    add("png_grey_16", Image.fromarray(wide), "PNG", rgb=high)
    transparent = Image.open(io.BytesIO(tensors["file.png_palette_transparent"].tobytes()))
    tensors["rgb.png_palette_transparent"] = over_white(transparent)

    source = random.randint(0, 256, (41, 53, 3), dtype=numpy.uint8)
    tensors["resize.source"] = source
    for width, height in ((26, 20), (7, 8), (60, 45), (53, 9), (90, 11), (9, 66), (1, 1)):
        for name, how in (("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)):
            resized = Image.fromarray(source).resize((width, height), how)
            tensors[f"resize.{name}.{width}x{height}"] = numpy.asarray(resized)
    how = transforms.InterpolationMode.BICUBIC
    prepared = transforms.Compose([transforms.Resize(20, how), transforms.CenterCrop(17)])
    for width, height in ((53, 41), (31, 41), (20, 27), (12, 12), (53, 2)):
        part = Image.fromarray(source[:height, :width])
        tensors[f"prepare.{width}x{height}"] = numpy.asarray(prepared(part))
    normalised = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    tensors["normalised.31x41"] = normalised(transforms.ToTensor()(prepared(Image.fromarray(source[:41, :31])))).numpy()
    save_file({name: numpy.ascontiguousarray(value) for name, value in sorted(tensors.items())}, output)
    print(f"{output}: {os.path.getsize(output)} bytes, {len(tensors)} tensors, torch {torch.__version__}")


if __name__ == "__main__":
    main()
