#!/usr/bin/env bash
# Builds and installs full mmcv (with compiled operators), which mmdet and mmseg need, for the torch that is installed:
#   bash tools/install_mmcv.sh [--version 2.1.0] [--onedl] [--ops auto|cpu|cuda] [--cache FOLDER] [--force]
# mmcv's own source package does not build on current torch: its setup.py asks for an old C++ standard and imports
# pkg_resources, which setuptools >= 81 lacks. The wheel is kept in the cache, one per mmcv, torch, Python and operators.
# PYTHON names another Python than the one on PATH; MAX_JOBS limits compilers at work.
set -euo pipefail

fail() {
    echo "error: $*" >&2
    exit 2
}

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

name=mmcv version='' ops=auto force=0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/glsim_mm/wheels
while (($#)); do
    case $1 in
        --version | --ops | --cache)
            [[ $# -ge 2 ]] || fail "$1 needs a value; see $0 --help"
            declare "${1#--}=$2"
            shift 2
            ;;
        --onedl) name=onedl-mmcv && shift ;;
        --force) force=1 && shift ;;
        -h | --help) usage && exit ;;
        *) fail "unknown option $1; see $0 --help" ;;
    esac
done
[[ $ops =~ ^(auto|cpu|cuda)$ ]] || fail "--ops must be auto, cpu or cuda, not $ops"
if [[ -z $version ]]; then
    # mmdet 3.3 and mmseg 1.2 refuse mmcv 2.2.
    version=$([[ $name == mmcv ]] && echo 2.1.0 || echo 2.3.6)
fi
[[ $version =~ ^[0-9]+(\.[0-9]+)+$ ]] || fail "--version must look like 2.1.0, not $version"
python=${PYTHON:-python}
command -v "$python" >/dev/null || fail "there is no $python on PATH; activate a virtual environment, or set PYTHON"
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; make a virtual environment: python -m venv .venv"

# Prints a line of what nms and roi_align found, or fails.
verify() {
    (cd / && "$python" - <<'PYTHON'
import torch, mmcv
from mmcv.ops import nms, roi_align

devices = ['cpu'] + (['cuda'] if torch.cuda.is_available() else [])
done = []
for device in devices:
    try:
        boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], dtype=torch.float32, device=device)
        kept = nms(boxes, torch.tensor([0.5, 0.9, 0.3], device=device), 0.5)[1]
        assert kept.tolist() == [1, 2], kept
        ramp = torch.arange(16, dtype=torch.float32, device=device).reshape(1, 1, 4, 4)
        pooled = roi_align(ramp, torch.tensor([[0, 0, 0, 4, 4]], dtype=torch.float32, device=device), (2, 2), 1.0, 2)
        expected = torch.tensor([[2.5, 4.5], [10.5, 12.5]], device=device)
        assert torch.allclose(pooled[0, 0], expected), pooled
        done.append(device)
    except RuntimeError as error:
        if device == 'cpu':
            raise
        print(f'warning: the operators do not run on the GPU ({error}): build again with --ops cuda --force')
print(f'mmcv {mmcv.__version__} with torch {torch.__version__}: nms and roi_align run on {" and ".join(done)}')
PYTHON
    )
}

facts=$("$python" - <<'PYTHON'
import importlib.metadata as metadata, importlib.util, sys
if importlib.util.find_spec('torch') is None:
    sys.exit('torch is not installed: install it first, for example pip install torch torchvision')
import torch
installed = [f'{name}={metadata.version(name)}' for name in ('mmcv', 'mmcv-lite', 'onedl-mmcv', 'mmcv-full')
             if importlib.util.find_spec('mmcv') and any(d.metadata['Name'] == name for d in metadata.distributions())]
print(torch.__version__.replace('+', '-'), 'cuda' if torch.cuda.is_available() else 'cpu',
      f'cp{sys.version_info[0]}{sys.version_info[1]}', ','.join(installed) or 'none')
PYTHON
) || exit 2
read -r torch_version device tag installed <<<"$facts"
[[ $ops == auto ]] && ops=$device
if [[ $ops == cuda ]] && ! command -v nvcc >/dev/null; then
    fail 'building CUDA operators needs nvcc of the CUDA toolkit on PATH; install it, or choose --ops cpu'
fi
echo "torch $torch_version, $tag, operators for $ops; mmcv that is installed: $installed"
if [[ $force == 0 && ",$installed," == *",$name=$version,"* ]] && message=$(verify 2>/dev/null); then
    echo "$message; nothing to do"
    exit
fi

place=$cache/$name-$version-torch$torch_version-$tag-$ops
shopt -s nullglob
wheels=("$place"/*.whl)
if [[ $force == 1 || ${#wheels[@]} -eq 0 ]]; then
    command -v "${CXX:-g++}" >/dev/null || fail 'a C++ compiler is needed; on Debian and Ubuntu: apt install g++'
    echo 'int main() {}' | "${CXX:-g++}" -std=c++20 -x c++ -fsyntax-only - 2>/dev/null ||
        fail "${CXX:-g++} does not know C++20, which torch's headers need; install GCC 11 or newer"
    work=$(mktemp -d)
    trap 'rm -rf -- "$work"' EXIT
    # An environment that sees the installed torch, with a setuptools that still has pkg_resources.
    "$python" -m venv "$work/venv" || fail "Python's venv module does not work; on Debian: apt install python3-venv"
    "$python" - "$work/venv" <<'PYTHON'
import pathlib, site, sys, sysconfig
own = next(pathlib.Path(sys.argv[1]).glob('lib*/python*/site-packages'))
paths = dict.fromkeys([sysconfig.get_path('purelib'), sysconfig.get_path('platlib'), *sys.path])
(own / 'outer.pth').write_text(''.join(f'{path}\n' for path in paths if path.endswith(('site-packages', 'dist-packages'))))
PYTHON
    build=$work/venv/bin/python
    "$build" -m pip install --quiet --disable-pip-version-check 'setuptools>=77,<81' wheel ninja ||
        fail 'pip could not install setuptools < 81; see its message above'
    "$build" -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary :all: \
        --dest "$work" "$name==$version" || fail "pip could not download the sources of $name $version; see above"
    "$build" - "$work" "$ops" <<'PYTHON'
import pathlib, re, sys, tarfile
work, ops = pathlib.Path(sys.argv[1]), sys.argv[2]
(archive,) = work.glob('*.tar.gz')
with tarfile.open(archive) as content:
    content.extractall(work / 'source', filter='data')  # refuses paths that lead out of the folder
(root,) = (work / 'source').iterdir()
setup = root / 'setup.py'
setup.write_text(re.sub(r'-std=c\+\+1[47]', '-std=c++20', setup.read_text()))
if ops == 'cpu':
    # Most of the time goes into torch's headers: small files are compiled together. These define the same names twice.
    apart = ('psamask', 'roi_align', 'modulated_deform_conv', 'rotated_feature_align', 'pybind')
    folder = root / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    for part in (folder, folder / 'cpu'):
        merged = sorted(path for path in part.glob('*.cpp') if not path.name.startswith(apart))
        for path in merged:
            path.rename(path.with_suffix('.inc'))
        half = (len(merged) + 1) // 2
        for number, group in enumerate((merged[:half], merged[half:])):
            lines = [f'#include "{path.with_suffix(".inc").name}"\n' for path in group]
            (part / f'merged{number}.cpp').write_text(''.join(lines))
print(root)
PYTHON
    source=$(echo "$work"/source/*)
    echo "building $name $version with operators for $ops (minutes for cpu, up to an hour for cuda); log: $place.log"
    mkdir -p "$place"
    export MMCV_WITH_OPS=1 FORCE_CUDA=$([[ $ops == cuda ]] && echo 1 || echo 0)
    export MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)} CFLAGS="${CFLAGS:--O2 -g0}" CXXFLAGS="${CXXFLAGS:--O2 -g0}"
    PATH=$work/venv/bin:$PATH "$build" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --wheel-dir "$work/wheels" "$source" >"$place.log" 2>&1 || {
        tail -n 20 "$place.log" >&2
        fail "$name $version does not build here; the whole log is in $place.log"
    }
    rm -f -- "$place"/*.whl
    mv -- "$work"/wheels/*.whl "$place/"
    wheels=("$place"/*.whl)
fi

# The packages overwrite each other's files.
"$python" -m pip uninstall --quiet --disable-pip-version-check --yes mmcv mmcv-lite mmcv-full onedl-mmcv 2>/dev/null || true
"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "${wheels[0]}" ||
    fail "pip could not install ${wheels[0]}; see its message above"
"$python" -m pip install --quiet --disable-pip-version-check "${wheels[0]}" ||
    fail "pip could not install what $name needs; see its message above"
verify || fail "the operators in ${wheels[0]} do not run; build them again: $0 --force"
