#!/usr/bin/env bash
# What a model knows after its weights were made smaller, by the weights' own energy and by their outputs:
#   bash bench/output_start/run.sh WEIGHTS PICTURES [FOLDER]
# WEIGHTS: a model as wasi_vit reads it; PICTURES: --data with images to train on and to measure on. FOLDER: where the
# compressed models are written (default: build/output_start). Prints, for each size, how well the features of pictures that
# nobody calibrated on agree with the dense model's, and a linear probe. WASI_VIT: the program (default: build/ci's).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ $# -lt 2 ]; then sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; fi
weights=$1
pictures=$2
out=${3:-$root/build/output_start}
program=${WASI_VIT:-$root/build/ci/examples/wasi_vit/wasi_vit}
export OMP_WAIT_POLICY=passive
mkdir -p "$out"

# probe MODEL: accuracy and agreement, in two words.
probe() {
    "$program" probe --weights "$1" --against "$weights" --data "$pictures" |
        sed -n 's/^linear probe: \([0-9.]* %\).*/\1/p; s/^its features agree to \([0-9.]*\).*/\1/p' | tr '\n' ' '
}

# smaller FILE: how many times the factorized weights are smaller, of the program's own line.
row() {  # NAME FILE OPTION...
    local name=$1 file=$out/$2 said size
    shift 2
    said=$("$program" compress --weights "$weights" --out "$file" "$@")
    size=$(sed -n 's/.*, \([0-9.]*\) times smaller.*/\1/p' <<<"$said")
    read -r accuracy percent agreed <<<"$(probe "$file")"
    printf '| %-34s | %6s | %9s | %6s %s |\n' "$name" "${size:-?}" "$agreed" "$accuracy" "$percent"
}

printf '| %-34s | %6s | %9s | %8s |\n|---|---|---|---|\n' 'start' 'times' 'agreement' 'probe'
read -r accuracy percent agreed <<<"$(probe "$weights")"
printf '| %-34s | %6s | %9s | %6s %s |\n' dense 1.00 "$agreed" "$accuracy" "$percent"
for energy in 0.9 0.8; do
    row "weight's energy $energy" "weight_$energy.safetensors" --energy $energy
done
for size in 0.8 0.625 0.476; do
    row "outputs, size $size" "output_$size.safetensors" --data "$pictures" --size $size
done
