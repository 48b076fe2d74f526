#!/usr/bin/env bash
# Trains ct-three-level-light on drawn chest CT and measures every level of it: the tables of docs/ct-phantoms.md.
#
#   benchmarks/ct_phantoms.sh BACKBONE.safetensors OUT
#
# BACKBONE: ImageNet weights of MobileNetV2 (padding as in TensorFlow). Two data sets are drawn, 150 patients to learn
# from, 39 to choose by, 63 to judge by: in `free` nothing about the scan goes with the class; in `tied` dose, kernel,
# field of view, thickness, scanner and table height do, but for the patients to judge by. Every second infected training
# patient has no slice labels. About 45 minutes on a core; a run that was interrupted goes on when the script is started
# again.
set -euo pipefail
if [ $# -ne 2 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
weights=$1 out=$2
here=$(dirname "$0")

measured() { # NAME SEED OPTIONS...: draw, train, evaluate
    local data=$out/$1 run=$out/$1-run seed=$2
    shift 2
    [ -f "$data/manifest.csv" ] ||
        pulmoscope datasets phantom -o "$data" --kind ct --count 252 --format nifti --seed "$seed" "$@"
    python3 "$here/half_labelled.py" "$data/manifest.csv" "$data/half.csv"
    pulmoscope train ct-three-level-light --data "$data/half.csv" -o "$run" --resume \
        --set "model.weights=$weights" --set "cache=$out/cache"
    [ -f "$run/test/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$data/half.csv" --split test -o "$run/test" --force
}

measured free 1
measured tied 2 --tie all
python3 "$here/ct_levels.py" "$out/free-run/test/metrics.json" "$out/tied-run/test/metrics.json"
