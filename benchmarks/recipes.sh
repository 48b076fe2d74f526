#!/usr/bin/env bash
# Trains every published recipe on a four-class data set and measures it: the rows of the table in docs/results.md.
#
#   benchmarks/recipes.sh DATA EXTERNAL NORMALS BACKBONE.safetensors OUT
#
# DATA: a data set with COVID, Normal, Tuberculosis and Viral Pneumonia and splits; EXTERNAL: other hospitals' images;
# NORMALS: images of a hospital that gave none of DATA's Normal images;
# BACKBONE: ImageNet weights of MobileNetV2 (padding as in TensorFlow), on which recipes of other pretrained backbones
# are run, but for VGG-16 and DenseNet-121. The schedules are shortened to some three hours on two cores. A run that
# was interrupted goes on when the script is started again.
set -euo pipefail
if [ $# -ne 5 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$1 external=$2 normals=$3 weights=$4 out=$5
mobilenet=(--set model.backbone=mobilenetv2_100 --set model.backbone_options.pad_type=same
    --set "model.weights=$weights")
normal=(--set preprocess.mean=0.5 --set preprocess.std=0.5)

measured() { # NAME RECIPE SETTINGS...: train, and measure at home, elsewhere, and with the lungs blacked out
    local name=$1 recipe=$2 run=$out/$1
    shift 2
    [ -f "$run/bundle.json" ] || pulmoscope train "$recipe" --data "$data" -o "$run" --resume "$@"
    [ -f "$run/test/metrics.json" ] || pulmoscope evaluate "$run" --data "$data" -o "$run/test" --force
    [ -f "$run/external/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$external" --split all -o "$run/external" --force
    [ -f "$run/normals/metrics.json" ] ||
        pulmoscope evaluate "$run" --data "$normals" --split all -o "$run/normals" --force
    [ -f "$run/audit/audit.json" ] || pulmoscope audit "$run" --data "$data" -o "$run/audit" --force
}

measured mobilenetv2 xray-4class-mobilenetv2 --set "model.weights=$weights" --set phases.train.epochs=6
measured mobilenetv2-binary xray-4class-mobilenetv2 --set "model.weights=$weights" --set classes=Normal,COVID \
    --set phases.train.epochs=6
measured binary-cnn xray-binary-cnn
measured binary-resnet50v2 xray-binary-resnet50v2 "${mobilenet[@]}" --set phases.frozen.epochs=10
measured resnet50 xray-4class-resnet50 "${mobilenet[@]}" "${normal[@]}" --set phases.train.epochs=5 \
    --set phases.train.learning_rate=1e-4
# On MobileNetV2 the recipes of VGG-16 and DenseNet-121 would be the run above once more: they run from scratch instead.
measured vgg16 xray-4class-vgg16 --set model.pretrained=false --set preprocess.size=64 --set phases.train.epochs=6 \
    --set phases.train.learning_rate=1e-4
measured densenet121 xray-4class-densenet121 --set model.pretrained=false --set preprocess.size=64 \
    --set phases.train.epochs=6 --set phases.train.learning_rate=1e-3
measured efficientnet xray-4class-efficientnet --set model.pretrained=false --set phases.train.epochs=6 \
    --set phases.train.learning_rate=1e-3 --set preprocess.size=128
python3 "$(dirname "$0")/table.py" "$out"
