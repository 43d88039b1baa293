# Sets up the virtual environment that quickstart.sh and run_tests.sh share. Sourced, not run.

# One line for the person at the terminal, then the end.
fail() {
    echo "error: $*" >&2
    exit 2
}

# with_clock COMMAND...: in a terminal, counts the seconds of a command that says nothing.
with_clock() {
    local status=0 ticker started=$SECONDS
    if [[ ! -t 2 ]]; then
        "$@"
        return
    fi
    (while printf '\r  %d s' $((SECONDS - started)) >&2; do sleep 1; done) &
    ticker=$!
    "$@" || status=$?
    kill "$ticker"
    wait "$ticker" 2>/dev/null || true
    printf '\r\033[K' >&2
    return "$status"
}

# The first Python that is new enough; PYTHON chooses another one.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10 or newer was found; install one, or name it: PYTHON=/path/to/python $0"
}

# make_venv PYTHON FOLDER: a virtual environment with pip. Debian's python3 has no ensurepip without the package python3-venv;
# where it has pip, that installs one into the environment.
make_venv() {
    "$1" -m venv "$2" >/dev/null 2>&1 && return
    "$1" -m venv --clear --without-pip "$2" && "$1" -m pip --python "$2/bin/python" install --quiet pip ||
        fail "$1 can make no virtual environment; on Debian and Ubuntu: apt install python3-venv"
}

# check_opencv PYTHON: mmengine and mmcv ask for opencv-python, which needs the libraries of a graphical desktop (libxcb).
# Where they are missing, the build without windows is installed over its files; pip goes on counting both as installed.
check_opencv() {
    local version
    "$1" -c 'from cv2 import imread' 2>/dev/null && return
    version=$("$1" -c 'import importlib.metadata as metadata; print(metadata.version("opencv-python"))') || return 0
    echo "OpenCV does not load here; installing its build without windows, opencv-python-headless $version"
    "$1" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "opencv-python-headless==$version" ||
        fail "pip could not install opencv-python-headless $version; see its message above"
    "$1" -c 'from cv2 import imread' || fail 'OpenCV cannot be imported; see the message above'
}

# prepare_environment ROOT EXTRAS [PACKAGE...]: makes ROOT/.venv (GLSIM_VENV names another place), installs the
# project with these extras, and the packages without what they depend on, where the requirements have changed, and
# puts its commands on PATH. GLSIM_NO_INSTALL=1 takes the Python on PATH as it is: for conda, containers, and stacks that
# pip would change, such as full mmcv or OneDL's forks.
prepare_environment() {
    local root=$1 extras=$2 venv stamp wanted
    shift 2
    if [[ ${GLSIM_NO_INSTALL:-} == 1 ]]; then
        command -v python >/dev/null || fail "GLSIM_NO_INSTALL=1, but there is no python on PATH"
        echo "Using $(command -v python)"
        return
    fi
    venv=${GLSIM_VENV:-$root/.venv}
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        local python
        python=$(find_python)
        echo "Making the virtual environment $venv"
        make_venv "$python" "$venv"
    fi
    PATH=$venv/bin:$PATH
    export PATH VIRTUAL_ENV=$venv
    unset PYTHONHOME
    # One stamp per set of extras: their requirements, the build script, and the place of the checkout.
    stamp=$venv/.glsim-$(tr -c 'a-z0-9\n' '-' <<<"$extras")
    wanted=$(python - "$root" "$@" <<'PYTHON'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
files = [root / 'setup.py', root / 'pyproject.toml', *sorted((root / 'requirements').glob('*.txt'))]
print(hashlib.sha256(b'\0'.join([repr(sys.argv[1:]).encode(), *(file.read_bytes() for file in files)])).hexdigest())
PYTHON
    )
    if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    # Full mmcv and mmcv-lite overwrite each other: keep the one that is there.
    if python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("mmcv") is None)'; then
        extras=${extras/mmcv-lite,/}
    fi
    echo "Installing into $venv (the first time this takes a few minutes)"
    python -m pip install --quiet --disable-pip-version-check 'setuptools>=77,<81' ||
        fail "pip could not install; see its message above"
    with_clock python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable "$root[$extras]" ||
        fail "pip could not install the project; see its message above"
    if (($#)); then
        python -m pip install --quiet --disable-pip-version-check --no-deps "$@" ||
            fail "pip could not install $*; see its message above"
    fi
    check_opencv python
    echo "$wanted" >"$stamp"
}

# prepare_downstream_environment ROOT: makes ROOT/.venv-downstream (GLSIM_DOWNSTREAM_VENV names another place) on top of the
# environment that prepare_environment made: full mmcv, mmdet and mmseg, before its mmcv-lite on the path. Sets
# downstream_python; it is empty where mmcv cannot be built.
prepare_downstream_environment() {
    local root=$1 venv stamp wanted wheel
    downstream_python=''
    if [[ ${GLSIM_NO_INSTALL:-} == 1 ]]; then
        if python -c 'import mmdet, mmseg, mmcv.ops' 2>/dev/null; then
            downstream_python=$(command -v python)
        fi
        return
    fi
    venv=${GLSIM_DOWNSTREAM_VENV:-$root/.venv-downstream}
    stamp=$venv/.glsim-downstream
    wanted=$(cat -- "$root"/requirements/*.txt "$root/tools/install_mmcv.sh" | cksum)
    if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
        echo "Installing mmdet and mmseg into $venv"
        make_venv python "$venv"
        "$venv/bin/python" - "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" <<'PYTHON'
import pathlib, sys, sysconfig
line = f'import site; site.addsitedir({sys.argv[1]!r})\n'
(pathlib.Path(sysconfig.get_path('purelib')) / 'glsim_below.pth').write_text(line)
PYTHON
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/requirements/downstream.txt" ||
            fail "pip could not install mmdet and mmseg; see its message above"
        for wheel in "$root"/../shared/wheels/mmcv-*.whl; do
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$wheel" 2>/dev/null || true
        done
        if ! PYTHON=$venv/bin/python bash "$root/tools/install_mmcv.sh"; then
            [[ ${GLSIM_REQUIRE_SHARED:-} == 1 ]] && fail 'mmcv could not be built; see the message above'
            echo 'The tests with mmdet and mmseg are left out: mmcv could not be built.'
            return
        fi
        echo "$wanted" >"$stamp"
    fi
    downstream_python=$venv/bin/python
}
