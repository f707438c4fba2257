#!/usr/bin/python3
"""Writes the stored PyTorch reference that the dense Vision Transformer is tested against.

Run:  /usr/bin/python3 make_vit_golden.py [OUTPUT_DIRECTORY]     (default: the folder of this script)
Needs Debian's python3-torch and python3-torchvision; no network. The tests only read the files, so
PyTorch is needed to make them anew and for nothing else. README.md lists what the files hold.

One thread and a frozen random stream: the same machine writes the same bytes. Another processor may
differ in the last bits of a float, far below every tolerance that the tests use.
"""

import copy
import json
import os
import sys

import numpy
import torch
import torchvision
from torchvision.models.vision_transformer import VisionTransformer

IMAGE, PATCH, LAYERS, HEADS, HIDDEN, MLP, CLASSES = 16, 4, 2, 2, 32, 64, 5
STEPS = 10
GOLDEN_LIMIT = 700_000  # bytes; with the double-precision gradients the file must stay below this
FILE_LIMIT = 1_000_000  # bytes; for any file

# The smaller item size last, so that every tensor starts at a multiple of its item size.
DTYPES = {"float64": ("F64", 8), "int64": ("I64", 8), "float32": ("F32", 4)}


def save_safetensors(path, tensors, metadata):
    """8-byte little-endian header length, JSON header padded with spaces to a multiple of 8, raw data.

    The data has no holes. Metadata values are strings. The file appears whole, by rename.
    """
    arrays = {}
    for name, value in tensors.items():
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        arrays[name] = numpy.array(value, order="C")  # a copy: nothing can change under us
    order = sorted(arrays, key=lambda name: (-DTYPES[str(arrays[name].dtype)][1], name))
    header, payload, position = {"__metadata__": metadata}, [], 0
    for name in order:
        array = arrays[name]
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": DTYPES[str(array.dtype)][0],
            "shape": list(array.shape),
            "data_offsets": [position, position + len(data)],
        }
        payload.append(data)
        position += len(data)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    blob = len(text).to_bytes(8, "little") + text + b"".join(payload)
    if len(blob) >= FILE_LIMIT:
        raise SystemExit(f"{path}: {len(blob)} bytes, the limit is {FILE_LIMIT}")
    with open(path + ".part", "wb") as file:
        file.write(blob)
    os.replace(path + ".part", path)
    return len(blob)


def random_model(random):
    """The model in float32 with every parameter random.

    torchvision starts with head, class token and most biases at zero and layer-norm gains at one; a
    test on those values would not see an omitted bias or gain, and most gradients would be zero.
    """
    model = VisionTransformer(
        image_size=IMAGE,
        patch_size=PATCH,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=HIDDEN,
        mlp_dim=MLP,
        num_classes=CLASSES,
        dropout=0.0,
        attention_dropout=0.0,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = random.standard_normal(tuple(parameter.shape))
            is_norm = ".ln_" in name or name.startswith("encoder.ln.")
            if is_norm and name.endswith("weight"):
                value = 1.0 + 0.3 * draw
            elif name.endswith("bias"):
                value = 0.2 * draw
            elif name in ("class_token", "encoder.pos_embedding"):
                value = 0.5 * draw
            else:  # a matrix or the patch convolution: outputs of about the size of the inputs
                fan_in = numpy.prod(parameter.shape[1:])
                gain = 1.5 if "in_proj" in name else 1.0  # attention that is far from uniform
                value = gain * draw / numpy.sqrt(fan_in)
            parameter.copy_(torch.from_numpy(value.astype(numpy.float32)))
    # Training mode: PyTorch's fused inference path for attention stays out of it.
    return model.train()


def random_batch(random, count):
    images = torch.from_numpy(random.standard_normal((count, 3, IMAGE, IMAGE)).astype(numpy.float32))
    labels = torch.from_numpy(random.permutation(numpy.arange(count) % CLASSES).astype(numpy.int64))
    return images, labels


def weights_of(model, prefix=""):
    return {prefix + name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def loss_of(model, images, labels):
    return torch.nn.functional.cross_entropy(model(images), labels)  # mean over the batch


def gradients_of(model, images, labels, prefix):
    model = copy.deepcopy(model)
    loss = loss_of(model, images, labels)
    loss.backward()
    gradients = {prefix + name: parameter.grad for name, parameter in model.named_parameters()}
    return loss.detach().reshape(1), gradients


def train(model, batches, make_optimizer, clip_norm=None):
    """The loss before each update, the norm of each gradient before clipping, the model afterwards.

    Starts from a copy: the given model keeps its weights.
    """
    model = copy.deepcopy(model)
    optimizer = make_optimizer(model.parameters())
    losses, norms = [], []
    for images, labels in batches:
        optimizer.zero_grad()
        loss = loss_of(model, images, labels)
        loss.backward()
        limit = float("inf") if clip_norm is None else clip_norm
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit)))
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), norms, model


def sgd(lr, momentum):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=1e-4)


def adamw():
    return lambda parameters: torch.optim.AdamW(
        parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05
    )


def report_series(name, model, batches, make_optimizer, clip_norm=None):
    """Trains, and says how far float32 is from the same series in double."""
    losses, norms, trained = train(model, batches, make_optimizer, clip_norm)
    batches64 = [(images.double(), labels) for images, labels in batches]
    losses64, _, _ = train(copy.deepcopy(model).double(), batches64, make_optimizer, clip_norm)
    distance = ((losses.double() - losses64) / losses64).abs().max().item()
    values = " ".join(f"{loss:.4f}" for loss in losses.tolist())
    print(f"{name}: {values}; gradient norm {min(norms):.3f} to {max(norms):.3f}; "
          f"float against double {distance:.1e}")
    return losses, trained


def make_golden(path, model, random, made_by):
    images, labels = random_batch(random, 8)
    batches = [(images, labels)] * STEPS
    double = copy.deepcopy(model).double()

    tensors = weights_of(model, "weights.")
    tensors["images"], tensors["labels"] = images, labels
    tensors["logits"] = model(images)
    tensors["loss"], gradients = gradients_of(model, images, labels, "grad.")
    tensors.update(gradients)
    tensors["logits_f64"] = double(images.double())
    _, gradients64 = gradients_of(double, images.double(), labels, "grad64.")

    tensors["sgd_losses"], trained = report_series("sgd_losses", model, batches, sgd(0.05, 0.9))
    tensors.update(weights_of(trained, "sgd_final."))
    tensors["sgd_plain_losses"], _ = report_series("sgd_plain_losses", model, batches, sgd(0.1, 0.0))
    tensors["adamw_losses"], _ = report_series("adamw_losses", model, batches, adamw())
    tensors["sgd_clip_losses"], _ = report_series("sgd_clip_losses", model, batches, sgd(0.1, 0.0), 0.5)

    metadata = {"heads": str(HEADS), "patch": str(PATCH), "image": str(IMAGE), "made_by": made_by}
    size = save_safetensors(path, {**tensors, **gradients64}, metadata)
    if size >= GOLDEN_LIMIT:
        size = save_safetensors(path, tensors, metadata)
        print("gradients in double left out: the file would be too large")
    print(f"{os.path.basename(path)}: {size} bytes")


def make_command_line_files(directory, model, random, made_by):
    def save(name, tensors, metadata):
        size = save_safetensors(os.path.join(directory, name), tensors, metadata)
        print(f"{name}: {size} bytes")

    images, labels = random_batch(random, 24)
    epoch = list(zip(images.split(8), labels.split(8)))
    batches = epoch + epoch  # two epochs in file order
    losses = {"logits": model(images)}
    losses["sgd_losses"], _ = report_series("command line, sgd_losses", model, batches, sgd(0.1, 0.0))
    losses["adamw_losses"], _ = report_series("command line, adamw_losses", model, batches, adamw())
    save("vit_cli_weights.safetensors", weights_of(model), {"heads": str(HEADS), "patch": str(PATCH)})
    save("vit_cli_data.safetensors", {"images": images, "labels": labels}, {"made_by": made_by})
    save("vit_cli_losses.safetensors", losses, {"made_by": made_by})


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    made_by = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    random = numpy.random.RandomState(20240607)  # its stream is frozen for good
    model = random_model(random)
    make_golden(os.path.join(directory, "vit_golden.safetensors"), model, random, made_by)
    make_command_line_files(directory, random_model(random), random, made_by)


if __name__ == "__main__":
    main()
