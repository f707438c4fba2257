#!/usr/bin/env bash
# How examples/data/fashion_vit was made: a Vision Transformer of 2.7 million parameters, pretrained on Fashion-MNIST.
#   bash examples/data/pretrain.sh [OUT]     into OUT (out/fashion); run it again to go on where it was cut off
# Takes some hours on two cores. Leaves OUT/report.html, and OUT/fashion_vit as it is shipped, in 16 bits a number.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
source cmake/install_packages.sh
source cmake/build_for_this_processor.sh

out=${1:-out/fashion}
install_packages g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev libcli11-dev libjpeg62-turbo-dev libpng-dev \
    zlib1g-dev dataset-fashion-mnist
require_tools cmake g++
use_ninja
build_for_this_processor build/release wasi_vit -DWASI_BUILD_BENCHMARKS=OFF
program=build/release/examples/wasi_vit/wasi_vit
resume=()
if [ -f "$out/run.safetensors" ]; then resume=(--resume "$out"); fi
"$program" finetune --config image=32,patch=4,dim=192,depth=6,heads=3,mlp=768 --data idx:/usr/share/datasets/fashion-mnist \
    --method vanilla --optimizer adamw --lr 0.001 --weight-decay 0.05 --batch-size 128 --epochs 15 --warmup 500 \
    --augment crop=0.6,flip --label-smoothing 0.1 --save-every 100 --seed 1 --out "$out" "${resume[@]}"
"$program" export --weights "$out/model.safetensors" --as timm --dtype f16 --out "$out/fashion_vit"
