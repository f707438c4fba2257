#!/usr/bin/env bash
# The one demo command.
#   bash examples/run.sh            installs what is missing, builds, trains, prints one table and leaves the reports
#   bash examples/run.sh --short    the same in its shortest form, by the program of tests/run.sh where that has been run;
#       --short --tuned           or by one built for this processor, as in the long form
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
source cmake/install_packages.sh
source cmake/build_for_this_processor.sh

short=no tuned=no
for argument in "$@"; do
    case $argument in
        --short) short=yes ;;
        --tuned) tuned=yes ;;
        -h | --help) sed -n '2,5s/^# \{0,1\}//p' examples/run.sh; exit 0 ;;
        *) printf 'examples/run.sh: unknown argument %s (only --short and --tuned)\n' "$argument" >&2; exit 2 ;;
    esac
done

# demo PROGRAM SHORT: pretrains on the digits 0-4, fine-tunes that checkpoint on all ten with each method from the same seed.
demo() {
    local program=$1 short=$2 out=out/demo epochs=20 pretrain_epochs=20 method
    if [ "$short" = yes ]; then
        out=out/short epochs=2 pretrain_epochs=3
        printf 'The short form: it shows that everything runs; its accuracies mean nothing.\n'
    fi
    rm -rf "$out"
    printf '\nPretraining a small Vision Transformer on the handwritten digits 0 to 4.\n'
    "$program" finetune --config image=16,patch=4,dim=128,depth=4,heads=4,mlp=512 --data digits:0-4 --method vanilla \
        --epochs "$pretrain_epochs" --lr 0.2 --seed 1 --out "$out/pretrain"
    printf '\nFine-tuning it on all ten digits, by methods that differ in how weights and saved inputs are held.\n'
    for method in head vanilla wsi asi wasi; do
        "$program" finetune --weights "$out/pretrain/model.safetensors" --classes 10 --data digits --method "$method" --layers all \
            --energy 0.9 --activation-energy 0.95 --epochs "$epochs" --lr 0.2 --batch-size 64 --seed 1 --out "$out/$method"
    done
    "$program" compare "$out"/{head,vanilla,wsi,asi,wasi} --heading 'Ten digits after five: fine-tuning in subspaces' --out "$out/index.html"
    printf '\nEvery run has a report of its own in %s/*/report.html; %s/index.html compares them.\n' "$out" "$out"
}

install_packages g++ make ninja-build cmake libeigen3-dev nlohmann-json3-dev libcli11-dev libxtensor-dev \
    libjpeg62-turbo-dev libpng-dev zlib1g-dev
require_tools cmake g++
use_ninja
if [ "$short" = yes ] && [ "$tuned" = no ] && [ -f build/ci/CMakeCache.txt ]; then
    # Minutes of compiling less. It is not tuned for this processor, which a form that says nothing of speed can bear.
    cmake --build build/ci --parallel "$(processor_count)" --target wasi_vit >/dev/null
    demo "$root/build/ci/examples/wasi_vit/wasi_vit" yes
else
    build_for_this_processor build/release wasi_vit -DWASI_BUILD_BENCHMARKS=OFF
    demo "$root/build/release/examples/wasi_vit/wasi_vit" "$short"
fi
