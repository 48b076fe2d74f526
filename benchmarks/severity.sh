#!/bin/sh
# System A on a drawn MosMedData: every fold, the ablation, the stress test. Hours on two CPU cores; killed, it goes on.
#   benchmarks/severity.sh FOLDER
# 222 studies in MosMedData's proportions (CT-4 dropped), 15 % of the slices damaged. Slices of 32 px, fewer epochs and a MisGAN
# that learns faster, so that 40 trainings fit into an evening without a GPU; the rest is the recipe's.
set -eu
out=$1
data=$out/mosmed
set -- --set preprocess.size=32 --set cache="$out/cache" --set slices.epochs=24 --set misgan.adversarial_every=20 \
  --set misgan.imputer_learning_rate=0.001

[ -f "$data/truth.csv" ] ||
  pulmoscope datasets phantom --kind ct --layout mosmed --fraction 0.2 --damage 0.15 --seed 1 -o "$data"
pulmoscope train ct-severity-resnet18 --data "$data" --folds 4 -o "$out/folds" --resume "$@"
pulmoscope ablate ct-severity-resnet18 --data "$data" -o "$out/ablation" --resume "$@"
pulmoscope stress "$out/folds" --data "$data" -o "$out/stress" --force
