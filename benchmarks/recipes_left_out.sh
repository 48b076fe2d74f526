#!/usr/bin/env bash
# Trains every published X-ray recipe, and xray-covid-1, once and briefly without one hospital, and measures it there: the
# leave-one-hospital-out column in docs/results.md.
#
#   benchmarks/recipes_left_out.sh XRAY4 SIIM BACKBONE.safetensors OUT
#
# XRAY4: four classes from several sources; SIIM: COVID and normal radiographs of one source, which no run learns from (255 of
# XRAY4's are taken out with it); BACKBONE: ImageNet weights of MobileNetV2 (padding as in TensorFlow), on which recipes of
# other pretrained backbones are run, but for VGG-16, DenseNet-121 and EfficientNet, which begin from scratch. Three epochs
# at 128 px or less: enough to compare, not the recipes' best. An interrupted run goes on when the script is started again.
set -euo pipefail
if [ $# -ne 4 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
weights=$3 out=$4
data=(--data "$1" --data "$2")
mobilenet=(--set model.backbone=mobilenetv2_100 --set model.backbone_options.pad_type=same --set "model.weights=$weights")
normal=(--set preprocess.mean=0.5 --set preprocess.std=0.5)
mkdir -p "$out"
printf '%s\n' label,class COVID,COVID Normal,Normal Typical,COVID Negative,Normal >"$out/two.csv"
printf '%s\n' label,class Typical,COVID Negative,Normal 'Atypical,Viral Pneumonia' >"$out/four.csv"

measured() { # NAME RECIPE LABELS SETTINGS...
    local run=$out/$1 recipe=$2 labels=$out/$3.csv
    shift 3
    [ -f "$run/bundle.json" ] || pulmoscope train "$recipe" "${data[@]}" --labels "$labels" --leave-out siim_covid19 \
        -o "$run" --resume "$@"
    [ -f "$run/left-out/hospitals.json" ] ||
        pulmoscope leave-out "$run" "${data[@]}" --labels "$labels" --hospital siim_covid19 -o "$run/left-out" --force
}

measured binary-cnn xray-binary-cnn two --set phases.train.epochs=10
measured binary-resnet50v2 xray-binary-resnet50v2 two "${mobilenet[@]}" --set phases.frozen.epochs=3
measured mobilenetv2 xray-4class-mobilenetv2 four --set "model.weights=$weights" --set preprocess.size=128 \
    --set phases.train.epochs=3
measured resnet50 xray-4class-resnet50 four "${mobilenet[@]}" "${normal[@]}" --set phases.train.epochs=3 \
    --set phases.train.learning_rate=1e-4
measured vgg16 xray-4class-vgg16 four --set model.pretrained=false --set preprocess.size=64 --set phases.train.epochs=3 \
    --set phases.train.learning_rate=1e-4
measured densenet121 xray-4class-densenet121 four --set model.pretrained=false --set preprocess.size=64 \
    --set phases.train.epochs=3 --set phases.train.learning_rate=1e-3
measured efficientnet xray-4class-efficientnet four --set model.pretrained=false --set preprocess.size=96 \
    --set phases.train.epochs=3 --set phases.train.learning_rate=1e-3
measured xray-covid-1 xray-covid-1 four --set "model.weights=$weights" --set phases.train.epochs=3
for run in "$out"/*/left-out/hospitals.md; do
    printf '\n%s\n\n' "$(basename "$(dirname "$(dirname "$run")")")"
    cat "$run"
done
