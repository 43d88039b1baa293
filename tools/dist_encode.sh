#!/usr/bin/env bash
# Encode images on several GPUs or processes:
#   bash tools/dist_encode.sh IMAGES CONFIG CHECKPOINT GALLERY PROCESSES_PER_NODE [options of retrieval/build.py]
# IMAGES is what build.py takes, or dataset=train, dataset=val or dataset=test for a data set of the config.
# Several nodes: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set, and GALLERY on a file system
# that all of them see. Stopped, it goes on when it is called again, also with another number of processes.
set -euo pipefail

if [ $# -lt 5 ]; then
    echo "usage: $0 IMAGES CONFIG CHECKPOINT GALLERY PROCESSES_PER_NODE [options of retrieval/build.py]" >&2
    exit 2
fi
images=$1
config=$2
checkpoint=$3
gallery=$4
processes=$5
shift 5
case $images in
    dataset=*) source=(--dataset "${images#dataset=}") ;;
    *) source=("$images") ;;
esac
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# One thread per process unless told otherwise, as torch and mmengine would set with a warning each.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"

PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$tools/retrieval/build.py" "${source[@]}" "$config" "$checkpoint" --out "$gallery" --launcher pytorch "$@"
