"""tools/install_mmcv.sh, as far as it goes without building."""

import venv

import pytest
from tiny_run import ROOT, run_command

SCRIPT = ROOT / 'tools' / 'install_mmcv.sh'


def test_help(tmp_path):
    result = run_command('bash', SCRIPT, '--help', cwd=tmp_path)
    assert result.returncode == 0 and '--onedl' in result.stdout and not result.stderr


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--ops', 'tpu'], '--ops must be auto, cpu or cuda, not tpu'),
        (['--version', '2.1.0; rm -rf x'], '--version must look like 2.1.0'),
        (['--version'], '--version needs a value'),
        (['--what'], 'unknown option --what'),
    ],
)
def test_mistakes(tmp_path, arguments, words):
    result = run_command('bash', SCRIPT, *arguments, cwd=tmp_path)
    assert result.returncode == 2 and result.stderr.startswith('error: ') and words in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_pip_and_torch_are_needed(tmp_path):
    venv.create(tmp_path / 'bare', symlinks=True)
    python = tmp_path / 'bare' / 'bin' / 'python'
    for message in (f'{python} has no pip', 'torch is not installed: install it first'):
        result = run_command('bash', SCRIPT, cwd=tmp_path, PYTHON=str(python))
        assert result.returncode == 2 and message in result.stderr
        (site,) = tmp_path.glob('bare/lib/*/site-packages')
        (site / 'pip.py').touch()  # a stand-in
