# What dist_train.sh, dist_test.sh and dist_encode.sh share. Sourced, not run.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# launch PROCESSES SCRIPT ARGUMENT...: becomes a script of tools/ in several processes, on the nodes that the environment names.
launch() {
    local processes=$1 script=$2
    shift 2
    # One thread per process unless told otherwise, as torch and mmengine would set with a warning each.
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
    export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
    exec "${PYTHON:-python}" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$processes" \
        "$tools/$script" --launcher pytorch "$@"
}
