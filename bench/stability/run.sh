#!/usr/bin/env bash
# Whether the subspaces of a pretrained model are stable while it is fine-tuned, at three learning rates:
#   bash bench/stability/run.sh WEIGHTS PICTURES [FOLDER]
# WEIGHTS: a model as wasi_vit reads it; PICTURES: --data. FOLDER: of the runs (default: build/stability). Prints a table by
# method, learning rate and kind of layer, at the last measurement: medians over blocks. A run that is in FOLDER is not made
# again. EPOCHS (default 2), EVERY (20: steps between measurements), RATES ("0.0005 0.005 0.05"), METHODS ("vanilla wasi").
# WASI_VIT: the program (default: build/ci's).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ $# -lt 2 ]; then sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; fi
weights=$1
pictures=$2
out=${3:-$root/build/stability}
program=${WASI_VIT:-$root/build/ci/examples/wasi_vit/wasi_vit}
export OMP_WAIT_POLICY=passive

for method in ${METHODS:-vanilla wasi}; do
    for rate in ${RATES:-0.0005 0.005 0.05}; do
        if [ -f "$out/$method-$rate/report.json" ]; then continue; fi
        start=()
        if [ "$method" = wasi ]; then start=(--size 0.8 --activation-energy 0.9); fi
        "$program" finetune --weights "$weights" --data "$pictures" --method "$method" "${start[@]}" --batch-size 32 \
            --lr "$rate" --schedule constant --epochs "${EPOCHS:-2}" --track-subspaces "${EVERY:-20}" \
            --out "$out/$method-$rate" >"$out-$method-$rate.log" 2>&1 || tail -n 3 "$out-$method-$rate.log" >&2
    done
done

# Medians over blocks of the last measurement. Overlaps stand between chance (0) and the same subspace (1).
printf '| method | rate | layers | accuracy | weight overlap | held | spectrum | gradient | gradient, start | chance | inputs overlap | since the last | inputs held |\n'
printf '|---|---|---|---|---|---|---|---|---|---|---|---|---|\n'
for method in ${METHODS:-vanilla wasi}; do
    for rate in ${RATES:-0.0005 0.005 0.05}; do
        run=$out/$method-$rate
        if [ ! -f "$run/report.json" ]; then printf '| %s | %s | diverged |\n' "$method" "$rate"; continue; fi
        accuracy=$(sed -n 's/^ *"test_accuracy": \([0-9.]*\),*$/\1/p' "$run/report.json")
        awk -F, -v method="$method" -v rate="$rate" -v accuracy="$accuracy" '
            NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
            { step[NR] = $1; line[NR] = $0; if ($1 + 0 > last) last = $1 + 0 }
            function above(overlap, rank, n) { return n > rank ? (overlap - rank / n) / (1 - rank / n) : 1 }
            function put(kind, what, value) { n[kind, what]++; v[kind, what, n[kind, what]] = value }
            function median(kind, what,    i, j, t, m) {
                m = n[kind, what]
                for (i = 1; i <= m; ++i) for (j = i + 1; j <= m; ++j)
                    if (v[kind, what, j] < v[kind, what, i]) { t = v[kind, what, i]; v[kind, what, i] = v[kind, what, j]; v[kind, what, j] = t }
                return (v[kind, what, int((m + 1) / 2)] + v[kind, what, int(m / 2) + 1]) / 2
            }
            END {
                for (r = 2; r <= NR; ++r) {
                    split(line[r], c, ",")
                    if (c[1] + 0 != last) continue
                    kind = c[at["layer"]]
                    sub(/^[^.]*\./, "", kind)
                    if (!(kind in seen)) { seen[kind] = 1; kinds[++count] = kind }
                    k = c[at["rank"]]; o = c[at["outputs"]]; i = c[at["inputs"]]
                    put(kind, "weight", (above(c[at["left_overlap"]], k, o) + above(c[at["right_overlap"]], k, i)) / 2)
                    put(kind, "held", c[at["held"]])
                    put(kind, "spectrum", c[at["spectrum_change"]])
                    put(kind, "gradient", c[at["gradient_share"]])
                    put(kind, "start", c[at["gradient_share_start"]])
                    put(kind, "chance", 1 - (1 - k / o) * (1 - k / i))
                    put(kind, "input", above(c[at["input_overlap"]], c[at["input_rank"]], i))
                    put(kind, "last", above(c[at["input_overlap_last"]], c[at["input_rank"]], i))
                    put(kind, "inside", c[at["input_held"]] / c[at["input_energy"]])
                }
                for (j = 1; j <= count; ++j) {
                    kind = kinds[j]
                    printf "| %s | %s | %s | %.3f | %.3f | %.3f | %.3f | %.2f | %.2f | %.2f | %.3f | %.3f | %.3f |\n", method, rate, kind, accuracy,
                        median(kind, "weight"), median(kind, "held"), median(kind, "spectrum"), median(kind, "gradient"),
                        median(kind, "start"), median(kind, "chance"), median(kind, "input"), median(kind, "last"), median(kind, "inside")
                }
            }' "$run/subspaces.csv"
    done
done
