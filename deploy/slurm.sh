#!/bin/bash
#SBATCH --job-name=pulmoscope
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Starts Ray on every node of the job, runs a command there, and ends Ray with it:
#
#   sbatch deploy/slurm.sh pulmoscope diagnose /archive -o /results --on ray
#
# Options of sbatch go before the script's name: `sbatch --nodes=16 deploy/slurm.sh …`. The environment with pulmoscope must
# be active where sbatch is called, and lie where all nodes see it, as archive and results must. A job that is requeued goes on.
set -euo pipefail # on the first node, which becomes the head

port=${PORT:-6379}
RAY_ADDRESS=$(hostname):$port # what --on ray joins
export RAY_ADDRESS
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# Other users of the machines don't have this job's environment, so they can't join.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N 32 -t x1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

others=$((SLURM_JOB_NUM_NODES - 1))
node=(--block --num-cpus=$((SLURM_CPUS_PER_TASK + 1)) --object-store-memory=268435456 --temp-dir="/tmp/ray-$SLURM_JOB_ID")
trap 'jobs -p | xargs -r kill 2> /dev/null || true' EXIT

srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --nodelist="$SLURMD_NODENAME" \
    ray start --head --port="$port" --include-dashboard=false --disable-usage-stats "${node[@]}" &
for _ in {1..300}; do
    if ray health-check 2> /dev/null; then break; fi
    sleep 1
done
if ((others > 0)); then
    srun --nodes="$others" --ntasks="$others" --cpus-per-task="$SLURM_CPUS_PER_TASK" --exclude="$SLURMD_NODENAME" \
        ray start --address="$RAY_ADDRESS" "${node[@]}" &
fi
python - "$SLURM_JOB_NUM_NODES" <<'PYTHON' # the work begins when every node is there
import sys
import time

import ray

ray.init(logging_level="ERROR", log_to_driver=False)
wanted, until = int(sys.argv[1]), time.monotonic() + 300
while (found := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > until:
        sys.exit(f"of {wanted} nodes {found} joined within 5 minutes")
    time.sleep(1)
PYTHON
"$@"
