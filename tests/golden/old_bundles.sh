#!/usr/bin/env bash
# How the bundles of tests/data/old_bundles/0.1 and the reports of tests/data/old_reports/1.4 were made: with version 0.1
# of the package. Kept as a record: later versions read what it made, and need not take the same commands.
#
#   tests/golden/old_bundles.sh WORK        needs the extra `train`; about 5 minutes of one core
#
# Everything is simulated and tiny, and the models are good for nothing but being read. Of each run the bundle alone is
# kept. The view network stays out of the bundle with one logit, so that together they stay below 3 MiB.
set -euo pipefail
work=$1
here=$(cd "$(dirname "$0")/.." && pwd)
data=$work/data
train() { pulmoscope train "$@" --device cpu --release 0.1 --terms "simulated by Pulmoscope" --force; }

python "$here/golden/simulated.py" "$data"

train xray-covid --data "$data/xrays" -o "$work/xray" \
    --set model.backbone=cnn --set model.filters=8 --set preprocess.size=64 --set locate=0 --set average=0.8 \
    --set mixup=0 --set augment.film=0 --set augment.mixing=0 --set augment.clutter=0 \
    --set phases.train.frozen=none --set phases.train.epochs=20 --set phases.train.learning_rate=0.01
train xray-binary-cnn --data "$data/negatives" -o "$work/xray-one-logit" \
    --set model.filters=8 --set preprocess.size=64 --set batch_size=16 --set augment.rotate_deg=0 \
    --set phases.train.train_on=train,val --set phases.train.patience=0 --set phases.train.epochs=30 \
    --set phases.train.learning_rate=0.01
train ct-slice-covid --data "$data/slices" -o "$work/ct-slice" \
    --set model.backbone=test_efficientnet --set model.pretrained=false \
    --set preprocess.size=64 --set mixup=0 --set average=0.9 --set phases.train.frozen=none \
    --set phases.train.epochs=6 --set phases.train.learning_rate=0.005
train ct-three-level-light --data "$data/studies" -o "$work/ct-three-level" \
    --set slice.model.backbone=test_efficientnet --set slice.model.pretrained=false --set slice.model.hidden=12 \
    --set preprocess.size=64 --set slice.per_epoch=144 --set slice.batch_size=16 \
    --set slice.phases.head.frozen=none --set slice.phases.tune.frozen=none --set slice.phases.picked.frozen=none \
    --set slice.phases.tune.epochs=8 --set slice.phases.tune.learning_rate=0.003 --set patient.lstm_units=6 \
    --set patient.epochs=30 --set patient.learning_rate=0.003 --set ensemble.epochs=100 --set ensemble.learning_rate=0.01
train ct-severity-resnet18 --data "$data/graded" -o "$work/ct-severity" \
    --set model.backbone=cnn --set model.filters=8 --set preprocess.size=32 --set preprocess.slice_mm=20 \
    --set slices.epochs=8 --set slices.per_study=6 --set slices.batch_size=16 \
    --set misgan.steps=4 --set misgan.imputing_steps=60 --set misgan.latent=16 --set misgan.width=4 \
    --set misgan.imputer_width=4 --set anogan.width=4 --set anogan.latent=16 --set anogan.epochs=4 \
    --set anogan.encoder_epochs=4 --set anogan.batches=6 --set anogan.batch_size=8

bundles=$here/data/old_bundles/0.1
for run in xray xray-one-logit ct-slice ct-three-level ct-severity; do
    mkdir -p "$bundles/$run"
    for part in bundle.json MODEL_CARD.md; do cp "$work/$run/$part" "$bundles/$run"; done
    find "$work/$run" -maxdepth 1 \( -name '*.onnx' -o -name '*.npz' \) -exec cp {} "$bundles/$run" \;
done

# A report's file names are as they were given: relative ones.
reports=$here/data/old_reports/1.4
cd "$data"
pulmoscope diagnose xrays/COVID/images/COVID-0001.png --model "$bundles/xray" -o "$work/reports/xray" --force
pulmoscope diagnose graded/val-2/studies/CT-2/study_0008.nii.gz --model "$bundles/ct-severity" -o "$work/reports/ct" --force
for kind in xray ct; do
    mkdir -p "$reports/$kind"
    (cd "$work/reports/$kind" && cp --parents index.json */diagnosis.json "$reports/$kind")
done
(cd "$work/reports/ct" && cp --parents */slices.csv "$reports/ct")
