"""tools/install_mmcv.sh, as far as it goes without building."""

import sys

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


@pytest.mark.slow
def test_torch_is_needed(tmp_path):
    pytest.importorskip('ensurepip', reason='Debian has it in a package of its own, python3-venv')
    run_command(sys.executable, '-m', 'venv', tmp_path / 'bare', cwd=tmp_path)
    bare = f'PYTHON={tmp_path / "bare" / "bin" / "python"}'
    result = run_command('env', bare, 'bash', SCRIPT, cwd=tmp_path)
    assert result.returncode == 2 and 'torch is not installed: install it first' in result.stderr
