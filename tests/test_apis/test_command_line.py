"""How command lines end."""

import pytest
import torch

from glsim_mm.apis import report_user_errors
from glsim_mm.errors import GLSimError


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
