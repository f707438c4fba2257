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

# demo PROGRAM SHORT: fine-tunes a pretrained Vision Transformer on handwritten digits, in several ways from the same seed.
demo() {
    local program=$1 short=$2 out=out/demo digits=digits epochs=4
    if [ "$short" = yes ]; then
        out=out/short digits=digits:0-4 epochs=1
        printf 'The short form: it shows that everything runs; its accuracies mean nothing.\n'
    fi
    rm -rf "$out"
    printf '\nFine-tuning a small Vision Transformer, pretrained on pictures of clothes, on handwritten digits.\n'
    # run NAME OPTIONS: everything that no row of the table differs in.
    run() {
        "$program" finetune --weights examples/data/fashion_vit --data "$digits" --layers all --epochs "$epochs" \
            --batch-size 64 --lr 0.1 --momentum 0.9 --seed 1 --out "$out/$1" "${@:2}"
    }
    # What costs little time and changes no bit; and everything of that kind, for dense weights and exact inputs.
    local lean=(--recompute attention --probabilities recompute --gelu-input rebuild)
    local leanest=(--recompute block --probabilities recompute --norm-output rebuild --gelu-output rebuild)
    local weights=(--size 0.5) inputs=(--activation-energy 0.9)
    run head --method head "${lean[@]}"
    run vanilla --method vanilla "${lean[@]}"
    run vanilla-leanest --method vanilla "${leanest[@]}"
    run lora --method lora --rank 8 "${lean[@]}"
    run wsi --method wsi "${weights[@]}" "${lean[@]}"
    run asi --method asi "${inputs[@]}" "${lean[@]}"
    run wasi --method wasi "${weights[@]}" "${inputs[@]}" "${lean[@]}"
    printf '\nThe same within 44 MiB for the whole process, in which vanilla does not fit:\n'
    run within-44MiB --method auto --memory-budget 44MiB
    "$program" compare "$out"/{head,vanilla,vanilla-leanest,lora,wsi,asi,wasi,within-44MiB} \
        --heading 'Ten digits from clothes: fine-tuning in subspaces' --out "$out/index.html"
    printf '\nWhat the model of %s says of five pictures:\n' "$out/wasi"
    "$program" predict --weights "$out/wasi/model.safetensors" --top 2 examples/data/pictures
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
