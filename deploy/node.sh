#!/bin/bash
# Makes this machine a node of a Ray cluster, until `ray stop`.
#
#   deploy/node.sh head             on the first machine; the address stands in what Ray answers
#   deploy/node.sh ADDRESS:6379     on each of the others
#
# CORES=8 offers so many cores (default: all); ADDRESS=… is this machine's own, where it has several. Whoever has the token
# in ~/.ray/auth_token can run any program on the cluster: copy that file from the head to the other nodes, and to nobody
# else. Commands that use the cluster need RAY_AUTH_MODE=token as well.
set -euo pipefail

cores=${CORES:-$(nproc)}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 # a worker a core, a thread a worker
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
node=(--num-cpus=$((cores + 1)) --object-store-memory=268435456) # one more: a CPU is left for what is no worker
if [[ -n ${ADDRESS:-} ]]; then
    node+=(--node-ip-address="$ADDRESS")
fi

case ${1:-} in
head)
    if [[ $RAY_AUTH_MODE == token ]]; then
        (umask 077 && ray get-auth-token --generate > /dev/null)
    fi
    exec ray start --head --port="${PORT:-6379}" --include-dashboard=false --disable-usage-stats "${node[@]}"
    ;;
*:*)
    exec ray start --address="$1" "${node[@]}"
    ;;
*)
    echo "usage: node.sh head | node.sh ADDRESS:PORT (of the head)" >&2
    exit 2
    ;;
esac
