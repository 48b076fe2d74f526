#!/usr/bin/env bash
# Trains xray-covid with its parts put in, and then with others in their place, and measures each: what helps elsewhere, and what does not.
#
#   benchmarks/ablation.sh DATA EXTERNAL NORMALS BACKBONE.safetensors OUT
#
# DATA: a data set with COVID, Normal, Tuberculosis and Viral Pneumonia and splits; EXTERNAL: other hospitals' images;
# NORMALS: images of a hospital that gave none of DATA's Normal images; BACKBONE: ImageNet weights of MobileNetV2
# (padding as in TensorFlow). The schedule is shortened to 5 epochs at 128 x 128, alike for all, so the figures compare
# with each other and not with those of the whole recipe. A run that was interrupted goes on when the script is started
# again.
set -euo pipefail
if [ $# -ne 5 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$1 external=$2 normals=$3 weights=$4 out=$5
short=(--set "model.weights=$weights" --set phases.train.epochs=5 --set preprocess.size=128)
geometric=(--set augment.film=0 --set augment.clutter=0) # the small changes of shape stay

measured() { # NAME SETTINGS...: train, and measure at home, elsewhere, and with the lungs blacked out
    local run=$out/$1
    shift
    [ -f "$run/bundle.json" ] || pulmoscope train xray-covid --data "$data" -o "$run" --resume "${short[@]}" "$@"
    [ -f "$run/val/metrics.json" ] || pulmoscope evaluate "$run" --data "$data" --split val -o "$run/val" --force
    [ -f "$run/external/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$external" --split all -o "$run/external" --force
    [ -f "$run/normals/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$normals" --split all -o "$run/normals" --force
    [ -f "$run/audit/audit.json" ] ||
        pulmoscope audit "$run" --data "$data" --split val -o "$run/audit" --force
}

measured a-whole-film --set preprocess.region=full "${geometric[@]}"
measured b-lung-box "${geometric[@]}"
measured c-lung-box-augmented # the recipe, but for the short schedule and size
measured d-the-same-narrow-box --set preprocess.margin=0.06
measured e-the-same-hull --set preprocess.hull=true
measured f-the-same-clahe --set preprocess.contrast=clahe
measured g-the-same-without-mixup --set mixup=0
python3 "$(dirname "$0")/table.py" "$out"
