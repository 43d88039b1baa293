#!/usr/bin/env bash
# Encode images on several GPUs or processes:
#   bash tools/dist_encode.sh IMAGES CONFIG CHECKPOINT GALLERY PROCESSES_PER_NODE [options of retrieval/build.py]
# IMAGES is what build.py takes, or dataset=train, dataset=val or dataset=test for a data set of the config.
# Several nodes: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set, and GALLERY on a file system
# that all of them see. If it is stopped, call it again to go on, also with another number of processes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

if [ $# -lt 5 ]; then
    echo "usage: $0 IMAGES CONFIG CHECKPOINT GALLERY PROCESSES_PER_NODE [options of retrieval/build.py]" >&2
    exit 2
fi
case $1 in
    dataset=*) source=(--dataset "${1#dataset=}") ;;
    *) source=("$1") ;;
esac
launch "$5" retrieval/build.py "${source[@]}" "$2" "$3" --out "$4" "${@:6}"
