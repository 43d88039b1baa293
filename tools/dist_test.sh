#!/usr/bin/env bash
# Test on several GPUs or processes: bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES_PER_NODE [options of test.py]
# Several nodes: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/launch.sh"

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES_PER_NODE [options of test.py]" >&2
    exit 2
fi
launch "$3" test.py "$1" "$2" "${@:4}"
