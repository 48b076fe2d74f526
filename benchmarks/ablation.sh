#!/usr/bin/env bash
# Trains xray-covid with one part taken away or put in at a time, two hospitals left out of training together, and measures it
# there: what helps at a hospital that a model has never seen, and what does not.
#
#   benchmarks/ablation.sh PACKS BACKBONE.safetensors OUT [HOSPITAL...]
#
# PACKS: a folder with the data sets xray4, xray_siim, xray_external, cxr_lungs, xray_normals and xray_lesions; BACKBONE: ImageNet
# weights of MobileNetV2 (converted from TensorFlow); HOSPITAL: those left out (siim_covid19 and shenzhen). The schedule is
# shortened to 4 epochs, alike for all, so the figures compare with each other and not with those of the whole recipe. A run
# that was interrupted goes on when the script is started again.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
packs=$1 weights=$2 out=$3
shift 3
[ $# -gt 0 ] || set -- siim_covid19 shenzhen
left_out=() asked=() data=()
for hospital in "$@"; do left_out+=(--leave-out "$hospital") asked+=(--hospital "$hospital"); done
for name in xray4 xray_siim xray_external cxr_lungs xray_normals xray_lesions; do data+=(--data "$packs/$name"); done

measured() { # NAME SETTINGS...
    local run=$out/$1
    shift
    [ -f "$run/bundle.json" ] || pulmoscope train xray-covid "${data[@]}" "${left_out[@]}" -o "$run" --resume \
        --set "model.weights=$weights" --set phases.train.epochs=4 "$@"
    [ -f "$run/left-out/hospitals.json" ] || pulmoscope leave-out "$run" "${data[@]}" "${asked[@]}" -o "$run/left-out" --force
}

measured a-the-recipe
measured b-no-amplitude-mixing --set augment.mixing=0
measured c-no-film-changes --set augment.film=0
measured d-no-boxes --set locate=0
measured e-labels-taken-at-their-word --set unread.Normal=0 --set 'unread.Other pneumonia=0'
measured f-simulated-opacities --set augment.opacities=0.3
measured g-sampled-by-hospital --set balance=0.5
measured h-group-dro --set robust=0.01
for run in "$out"/*/left-out/hospitals.md; do
    printf '\n%s\n\n' "$(basename "$(dirname "$(dirname "$run")")")"
    cat "$run"
done
