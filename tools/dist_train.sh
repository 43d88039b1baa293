#!/usr/bin/env bash
# Train on several GPUs or processes: bash tools/dist_train.sh CONFIG PROCESSES_PER_NODE [options of train.py]
# Several nodes: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES_PER_NODE [options of train.py]" >&2
    exit 2
fi
launch "$2" train.py "$1" "${@:3}"
