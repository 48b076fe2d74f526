#!/usr/bin/env bash
# Trains xray-covid with its parts taken away one by one, and measures each: what helps elsewhere, and what does not.
#
#   benchmarks/ablation.sh DATA EXTERNAL BACKBONE.safetensors OUT
#
# DATA: a data set with COVID, Normal, Tuberculosis and Viral Pneumonia and splits; EXTERNAL: other hospitals' images;
# BACKBONE: ImageNet weights of MobileNetV2 (padding as in TensorFlow). The schedule is shortened to 4 epochs at
# 128 x 128, alike for all, so the figures compare with each other and not with those of the whole recipe. A run that
# was interrupted goes on when the script is started again.
set -euo pipefail
if [ $# -ne 4 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$1 external=$2 weights=$3 out=$4
short=(--set "model.weights=$weights" --set phases.train.epochs=4 --set preprocess.size=128)
geometric=(--set augment.film=0 --set augment.clutter=0 --set augment.contrast=0) # the small changes of shape stay
plain=(--set preprocess.contrast=none)
whole=(--set preprocess.region=full)
square=(--set preprocess.region=square) # its edges are cut by the recipe's preprocess.edge

measured() { # NAME SETTINGS...: train, and measure at home, elsewhere, and with the lungs blacked out
    local run=$out/$1
    shift
    [ -f "$run/bundle.json" ] || pulmoscope train xray-covid --data "$data" -o "$run" --resume "${short[@]}" "$@"
    [ -f "$run/test/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$data" --split test -o "$run/test" --force
    [ -f "$run/external/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$external" --split all -o "$run/external" --force
    [ -f "$run/audit/audit.json" ] || pulmoscope audit "$run" --data "$data" -o "$run/audit" --force
}

measured a-whole-film "${whole[@]}" "${plain[@]}" "${geometric[@]}"
measured b-square-clahe-augmented "${square[@]}"
measured c-lungs "${plain[@]}" "${geometric[@]}"
measured d-lungs-clahe "${geometric[@]}"
measured e-lungs-clahe-augmented
python3 "$(dirname "$0")/table.py" "$out"
