"""What a user reads who lacks a package."""

import subprocess
import sys

import mmcv
import pytest

from glsim_mm.compat import import_mmpretrain


@pytest.mark.parametrize(
    'missing, expected',
    [('mmcv', 'pip install "glsim_mm[mmcv-lite]"'), ('mmpretrain', 'pip install "mmpretrain>=1.2"')],
)
def test_missing_package(missing, expected, root):
    code = f'import sys; sys.modules[{missing!r}] = None; import glsim_mm.compat as c; c.import_mmpretrain()'
    result = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith('ImportError: ')
    assert expected in last_line


def test_versions_that_exclude_each_other(monkeypatch):
    monkeypatch.setattr(mmcv, '__version__', '99.0.0')
    monkeypatch.delitem(sys.modules, 'mmpretrain')
    with pytest.raises(ImportError, match=r'MMCV==99.0.0 .* pip install') as error:
        import_mmpretrain()
    assert '\n' not in str(error.value)


def test_import_is_silent(root):
    result = subprocess.run(
        [sys.executable, '-W', 'default::UserWarning', '-c', 'import glsim_mm'],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout == ''
    assert 'MultiScaleDeformableAttention' not in result.stderr
