#!/usr/bin/env python3
"""What wasi_vit exports is loaded by the packages themselves and gives the same logits.

    pip install torch torchvision timm transformers safetensors
    python3 tests/golden/check_export.py build/release/examples/wasi_vit/wasi_vit

For every golden checkpoint (make_checkpoint_golden.py) and every package that has such a model: `wasi_vit export`, the
package's own loader, the same images through both. Factorized and 16-bit models too. Prints the largest difference of
each; status 1 above 1e-4 (16 bits: as far as their rounding reaches), 77 where a package is missing.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import timm
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from torchvision.models.vision_transformer import VisionTransformer
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()


def run(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode == 2:
        raise RuntimeError(done.stderr.strip())
    if done.returncode != 0:
        raise SystemExit(f"{arguments}: status {done.returncode} {done.stderr.strip()}")
    return done.stdout


def load_torchvision(folder):
    from safetensors import safe_open

    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as file:
        metadata = file.metadata()
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    depth = len({name.split(".")[2] for name in tensors if ".encoder_layer_" in name})
    first = "encoder.layers.encoder_layer_0."
    eps = float(metadata.get("epsilon", 1e-6))
    model = VisionTransformer(int(metadata["image"]), int(metadata["patch"]), depth, int(metadata["heads"]),
                              tensors["class_token"].shape[2], tensors[first + "mlp.0.weight"].shape[0],
                              num_classes=tensors["heads.head.weight"].shape[0],
                              norm_layer=lambda width: torch.nn.LayerNorm(width, eps=eps))
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.eval()


def load_timm(folder):
    return timm.create_model("local-dir:" + folder, pretrained=True).float().eval()


def load_hf(folder):
    with open(os.path.join(folder, "config.json")) as file:
        name = json.load(file)["architectures"][0]
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    missing = [key for key in info["missing_keys"] if "pooler" not in key and "mask_token" not in key]
    if missing or info["unexpected_keys"]:
        raise RuntimeError(f"missing {missing}, unexpected {sorted(info['unexpected_keys'])}")
    transformers.AutoImageProcessor.from_pretrained(folder)  # preprocessor_config.json is one
    model = model.eval()

    def forward(images):
        out = model(images)
        if hasattr(out, "logits"):
            return out.logits
        if hasattr(out, "image_embeds"):
            return out.image_embeds
        return out.pooler_output if "CLIP" in name else out.last_hidden_state[:, 0]

    return forward


LOADERS = {"torchvision": load_torchvision, "timm": load_timm, "hf": load_hf}


def compare(program, weights, folder, package, limit, *options):
    """None where the package has no such model."""
    heads = ["--heads", "2"] if "openai" in weights or "clip" in weights else []
    out = os.path.join(folder, "out")
    try:
        said = run(program, "export", "--weights", weights, *heads, "--as", package, "--out", out, *options)
    except RuntimeError as refusal:
        return None, str(refusal)
    logits = os.path.join(folder, "logits.safetensors")
    run(program, "predict", "--weights", weights, *heads, "--images", os.path.join(folder, "images.safetensors"), "--out",
        logits)
    ours = load_file(logits)["logits"]
    images = load_file(os.path.join(folder, "images.safetensors"))["images"]
    with torch.no_grad():
        theirs = LOADERS[package](out)(images).float()
    difference = (ours - theirs).abs().max().item() if ours.shape == theirs.shape else float("inf")
    return difference, "" if difference <= limit else f"above {limit}: {said.strip()}"


def main():
    program = os.path.abspath(sys.argv[1])
    root = os.path.join(HERE, "checkpoints")
    failures = done = 0
    print(f"torch {torch.__version__}, timm {timm.__version__}, transformers {transformers.__version__}")
    for name in sorted(os.listdir(root)):
        with tempfile.TemporaryDirectory() as folder:
            images = load_file(os.path.join(root, name, "expected.safetensors"))["images"]
            save_file({"images": images}, os.path.join(folder, "images.safetensors"))
            row = []
            for package in LOADERS:
                difference, problem = compare(program, os.path.join(root, name), folder, package, 1e-4)
                row.append(f"{package} {'-' if difference is None else f'{difference:.1e}'}")
                done += difference is not None
                failures += bool(difference is not None and problem)
                if difference is not None and problem:
                    print("  ", problem)
            print(f"{name}: {', '.join(row)}")
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(root, "hf_vit")
        images = load_file(os.path.join(weights, "expected.safetensors"))["images"]
        save_file({"images": images}, os.path.join(folder, "images.safetensors"))
        factored = os.path.join(folder, "factored.safetensors")
        run(program, "compress", "--weights", weights, "--rank", "4", "--above-break-even", "low-rank", "--out", factored)
        for package in LOADERS:
            for dtype, limit in (("f32", 1e-4), ("f16", 2e-2), ("bf16", 2e-1)):
                difference, problem = compare(program, factored, folder, package, limit, "--dense", "--dtype", dtype)
                done += 1
                failures += difference is None or bool(problem)
                print(f"rank 4, {package}, {dtype}: {difference} {problem}")
    print(f"{done} exports loaded, {failures} failures")
    return 1 if failures or not done else 0


if __name__ == "__main__":
    sys.exit(main())
