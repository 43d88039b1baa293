"""How command lines end."""

import pytest
import torch

from glsim_mm.errors import GLSimError, report_user_errors


class Unreadable(torch.utils.data.Dataset):
    """Fails in a worker process."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise GLSimError('image 0.png is smaller than\na patch; remove it')


def test_user_error_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end, report_user_errors():
        raise GLSimError('it is so; do this')
    assert end.value.code == 2
    assert capsys.readouterr().err == 'error: it is so; do this\n'


def test_user_error_in_a_worker_process(capsys):
    with pytest.raises(SystemExit), report_user_errors():
        next(iter(torch.utils.data.DataLoader(Unreadable(), num_workers=1)))
    assert capsys.readouterr().err == 'error: image 0.png is smaller than a patch; remove it\n'


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), report_user_errors():
        raise ZeroDivisionError


def test_traceback_on_demand(monkeypatch):
    monkeypatch.setenv('GLSIM_TRACEBACK', '1')
    with pytest.raises(GLSimError), report_user_errors():
        raise GLSimError('it is so; do this')


def test_packages_that_are_missing_or_do_not_load(capsys):
    with pytest.raises(SystemExit), report_user_errors():
        raise ImportError('an index needs x: pip install x')
    with pytest.raises(SystemExit), report_user_errors():
        raise ImportError('libxcb.so.1: cannot open shared object file', name='cv2')
    first, second = capsys.readouterr().err.splitlines()
    assert first == 'error: an index needs x: pip install x'
    assert 'libxcb' in second and second.endswith('pip install --force-reinstall --no-deps opencv-python-headless')
