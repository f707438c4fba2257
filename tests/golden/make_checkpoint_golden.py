#!/usr/bin/env python3
"""Tiny checkpoints of every family that wasi reads, with random weights, and the logits that the family's own package
gives them: tests/golden/checkpoints/NAME/{model.safetensors, config.json, ..., expected.safetensors}.

    pip install torch torchvision timm transformers safetensors
    python3 tests/golden/make_checkpoint_golden.py [FOLDER] [NAME ...]

Float32, CPU. expected.safetensors has images (n,3,H,W) and logits (n,classes), and _NAME of both for other image sizes.
The seed is fixed; another version of a package may round otherwise, which the tests' tolerance allows.
"""
import json
import os
import shutil
import sys
import zlib

import torch
from safetensors.torch import load_file, save_file

IMAGE, PATCH, DIM, DEPTH, HEADS, MLP, CLASSES = 12, 4, 16, 2, 2, 32, 3
SMALL = dict(img_size=IMAGE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, mlp_ratio=MLP / DIM,
             num_classes=CLASSES)
HF = dict(hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=IMAGE, patch_size=PATCH)


def randomize(model, name):
    """No parameter at zero or one, so that an omitted one would be seen."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for key, value in model.named_parameters():
            draw = torch.randn(value.shape, generator=generator)
            gain = "norm" in key or "ln_" in key or ".ln." in key or "layrnorm" in key
            if gain and key.endswith("weight"):
                value.copy_(1 + 0.3 * draw)
            elif "gamma" in key or "lambda" in key:
                value.copy_(0.7 + 0.3 * draw)
            elif value.dim() >= 2 and "embed" not in key.split(".")[-1] and "token" not in key:
                value.copy_(1.2 * draw / value[0].numel() ** 0.5)
            else:
                value.copy_(0.4 * draw)
    return model.float().eval()


def images_for(name, image=IMAGE):
    return torch.randn(2, 3, image, image, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()) + 1))


def tensors_of(model):
    return {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}


def expected(folder, name, run, other_sizes=()):
    with torch.no_grad():
        out = {}
        for suffix, image in [("", IMAGE)] + [(f"_{size}", size) for size in other_sizes]:
            images = images_for(name + suffix, image)
            out["images" + suffix], out["logits" + suffix] = images, run(images).clone().contiguous()
    save_file(out, os.path.join(folder, "expected.safetensors"))


def torchvision_model(name):
    from torchvision.models.vision_transformer import VisionTransformer

    return randomize(VisionTransformer(IMAGE, PATCH, DEPTH, HEADS, DIM, MLP, num_classes=CLASSES), name)


def torchvision_at(model, size):
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    other = VisionTransformer(size, PATCH, DEPTH, HEADS, DIM, MLP, num_classes=CLASSES)
    other.load_state_dict(interpolate_embeddings(size, PATCH, dict(model.state_dict())))
    return other.eval()


def make_torchvision(folder, name, rename=lambda key: key):
    model = torchvision_model(name)
    tensors = {rename(key): value for key, value in tensors_of(model).items()}
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"heads": str(HEADS)})
    expected(folder, name,
             lambda x: model(x) if x.shape[-1] == IMAGE else torchvision_at(model, x.shape[-1])(x), [8, 20])


def make_torchvision_old(folder, name):
    make_torchvision(folder, name, lambda key: "module." + key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"))


def make_timm(folder, name, architecture, other_sizes=(), rename=lambda key: key, **more):
    import timm
    from timm.models import save_for_hf

    args = {**SMALL, **more}
    model = randomize(timm.create_model(architecture, **args), name)
    args.pop("num_classes")
    save_for_hf(model, folder, model_args=args, safe_serialization="both")
    for file in os.listdir(folder):
        if file not in ("config.json", "model.safetensors"):
            os.remove(os.path.join(folder, file))
    path = os.path.join(folder, "model.safetensors")
    save_file({rename(key): value for key, value in load_file(path).items()}, path)

    def run(x):
        if x.shape[-1] == IMAGE:
            return model(x)
        other = timm.create_model(architecture, **{**args, "img_size": x.shape[-1], "num_classes": CLASSES})
        from timm.models.vision_transformer import checkpoint_filter_fn

        other.load_state_dict(checkpoint_filter_fn(dict(model.state_dict()), other, antialias=True))
        return other.eval()(x)

    expected(folder, name, run, other_sizes)


def make_hf(folder, name, model, run=None, other_sizes=(), shard=None, keep_config=True, rename=None):
    model = randomize(model, name)
    if shard:
        model.save_pretrained(folder, max_shard_size=shard)
    else:
        model.save_pretrained(folder)
    path = os.path.join(folder, "model.safetensors")
    if rename:
        save_file(rename(load_file(path)), path)
    if not keep_config:
        os.remove(os.path.join(folder, "config.json"))
    run = run or (lambda m, x: m(x).logits if x.shape[-1] == IMAGE else m(x, interpolate_pos_encoding=True).logits)
    expected(folder, name, lambda x: run(model, x), other_sizes)


def to_openai(tensors):
    """OpenAI's names of the same weights."""
    out = {}
    for key, value in tensors.items():
        key = key.removeprefix("vision_model.")
        for old, new in [("embeddings.class_embedding", "class_embedding"), ("embeddings.patch_embedding", "conv1"),
                         ("embeddings.position_embedding.weight", "positional_embedding"), ("pre_layrnorm", "ln_pre"),
                         ("post_layernorm", "ln_post"), ("encoder.layers.", "transformer.resblocks."),
                         ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
                         ("self_attn.out_proj", "attn.out_proj")]:
            key = key.replace(old, new)
        out["visual." + key] = value
    for i in range(DEPTH):
        block = f"visual.transformer.resblocks.{i}."
        for suffix in ("weight", "bias"):
            parts = [out.pop(f"{block}self_attn.{part}_proj.{suffix}") for part in "qkv"]
            out[f"{block}attn.in_proj_{suffix}"] = torch.cat(parts).contiguous()
    out["visual.proj"] = out.pop("visual.visual_projection.weight").T.contiguous()
    out["logit_scale"] = torch.tensor(4.6)
    return out


def families():
    import transformers as hf

    clip = dict(HF, intermediate_size=MLP, projection_dim=5)
    text = dict(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                max_position_embeddings=4, projection_dim=5)
    plain = dict(HF, intermediate_size=MLP, num_labels=CLASSES)
    dino = dict(HF, mlp_ratio=MLP // DIM, num_labels=CLASSES)
    return {
        "torchvision": lambda f, n: make_torchvision(f, n),
        "torchvision_old": make_torchvision_old,
        "timm_vit": lambda f, n: make_timm(f, n, "vit_base_patch16_224", [8, 20]),
        "timm_deit_distilled": lambda f, n: make_timm(f, n, "deit_base_distilled_patch16_224"),
        "timm_dinov2": lambda f, n: make_timm(f, n, "vit_base_patch14_dinov2"),
        "timm_dinov2_registers": lambda f, n: make_timm(f, n, "vit_base_patch14_reg4_dinov2", [8]),
        "timm_average": lambda f, n: make_timm(f, n, "vit_base_patch16_224", global_pool="avg"),
        "timm_no_class_token": lambda f, n: make_timm(f, n, "vit_base_patch16_224", [20], global_pool="avg",
                                                      class_token=False, fc_norm=False),
        "timm_registers_placed": lambda f, n: make_timm(f, n, "vit_base_patch16_224", reg_tokens=2),
        "timm_deit3": lambda f, n: make_timm(f, n, "deit3_base_patch16_224", rename=lambda key: key.replace(
            "ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")),
        "timm_clip": lambda f, n: make_timm(f, n, "vit_base_patch16_clip_quickgelu_224"),
        "hf_vit": lambda f, n: make_hf(f, n, hf.ViTForImageClassification(hf.ViTConfig(**plain)), other_sizes=[8, 20]),
        "hf_vit_shards": lambda f, n: make_hf(
            f, n, hf.ViTForImageClassification(hf.ViTConfig(**plain, qkv_bias=False)), shard="15KB"),
        "hf_vit_base": lambda f, n: make_hf(f, n, hf.ViTModel(hf.ViTConfig(**plain)),
                                            lambda m, x: m(x).last_hidden_state[:, 0]),
        "hf_deit": lambda f, n: make_hf(f, n, hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**plain))),
        "hf_deit_class": lambda f, n: make_hf(f, n, hf.DeiTForImageClassification(hf.DeiTConfig(**plain))),
        "hf_dinov2": lambda f, n: make_hf(f, n, hf.Dinov2ForImageClassification(hf.Dinov2Config(**dino)),
                                          lambda m, x: m(x).logits, [20]),
        "hf_dinov2_registers": lambda f, n: make_hf(
            f, n, hf.Dinov2WithRegistersForImageClassification(hf.Dinov2WithRegistersConfig(**dino))),
        "hf_clip": lambda f, n: make_hf(f, n, hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**clip)),
                                        lambda m, x: m(x).image_embeds),
        "hf_clip_both": lambda f, n: make_hf(
            f, n, hf.CLIPModel(hf.CLIPConfig(vision_config=clip, text_config=text, projection_dim=5)),
            lambda m, x: m.visual_projection(m.vision_model(x).pooler_output)),
        "openai_clip": lambda f, n: make_hf(f, n, hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**clip)),
                                            lambda m, x: m(x).image_embeds, keep_config=False, rename=to_openai),
    }


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "checkpoints")
    wanted = sys.argv[2:]
    torch.set_num_threads(1)
    for name, make in families().items():
        if wanted and name not in wanted:
            continue
        folder = os.path.join(root, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder, name)
        for file in os.listdir(folder):
            if file.endswith(".json"):  # one spelling
                path = os.path.join(folder, file)
                with open(path) as text:
                    document = json.load(text)
                with open(path, "w") as text:
                    json.dump(document, text, indent=1, sort_keys=True)
                    text.write("\n")
        size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
        print(f"{name}: {size} bytes, {sorted(os.listdir(folder))}")


if __name__ == "__main__":
    main()
