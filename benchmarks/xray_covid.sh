#!/usr/bin/env bash
# Makes the built-in model xray-covid 2.1, and every figure that docs/results.md has of it.
#
#   benchmarks/xray_covid.sh PACKS BACKBONE.safetensors OUT [train|measure|left-out]
#
# PACKS: a folder with the data sets xray4, xray_siim, xray_external, cxr_lungs, xray_normals, xray_lesions, ct_slices,
# xray_dicom and not_frontal; BACKBONE: ImageNet weights of MobileNetV2 (converted from TensorFlow). Without a last argument all
# three steps are done. A run that was interrupted goes on when the script is started again.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
packs=$1 weights=$2 out=$3 step=${4:-all}
data=()
for name in xray4 xray_siim xray_external cxr_lungs xray_normals xray_lesions; do data+=(--data "$packs/$name"); done
terms="research use only: public collections whose copies state no licence, or one for each image; no picture is part of this bundle"

if [ "$step" = all ] || [ "$step" = train ]; then
    pulmoscope train xray-covid "${data[@]}" -o "$out/trained" --resume --set "model.weights=$weights" --release 2.0 \
        --terms "$terms"
    # The choice of heat maps is the bundle's; everything else that guard writes training has written, too.
    pulmoscope models guard "$out/trained" "${data[@]}" -o "$out/model" --maps rise --release 2.1 --force
fi
if [ "$step" = all ] || [ "$step" = left-out ]; then
    pulmoscope leave-out xray-covid "${data[@]}" -o "$out/left-out" --resume --set "model.weights=$weights" \
        --set phases.train.epochs=6
    # 1.2 has no class for other pneumonias but the viral one.
    printf '%s\n' label,class Typical,COVID Negative,Normal 'Atypical,Viral Pneumonia' 'Pneumonia,Viral Pneumonia' \
        'other pneumonia,Viral Pneumonia' >"$out/labels-1.2.csv"
    pulmoscope leave-out xray-covid-1.2 "${data[@]}" --labels "$out/labels-1.2.csv" -o "$out/left-out-1.2" --force
fi
if [ "$step" = all ] || [ "$step" = measure ]; then
    pulmoscope evaluate "$out/model" "${data[@]}" -o "$out/test" --force
    pulmoscope models record "$out/model" --metrics "$out/test/metrics.json" --as test
    [ ! -f "$out/left-out/hospitals.json" ] ||
        pulmoscope models record "$out/model" --metrics "$out/left-out/hospitals.json" --as left-out
    # After the hospitals left out, as its sentence takes them from the bundle.
    pulmoscope audit "$out/model" "${data[@]}" -o "$out/audit" --force
    pulmoscope models record "$out/model" --metrics "$out/audit/audit.json" --as audit
    python3 "$(dirname "$0")/xray_goals.py" --packs "$packs" --model "$out/model" --left-out "$out/left-out" -o "$out/goals"
fi
