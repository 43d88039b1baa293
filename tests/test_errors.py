"""How command lines end."""

import io
from importlib import import_module

import pytest
import torch
from PIL import Image, UnidentifiedImageError

from glsim_mm.errors import GLSimError, explain_missing, one_line, report_user_errors


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


def test_a_process_above_the_first_waits_and_says_which_it_is(capsys, monkeypatch):
    waited = []
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setattr('glsim_mm.errors.time.sleep', waited.append)
    with pytest.raises(SystemExit), report_user_errors():
        raise GLSimError('it is so; do this')
    assert waited == [10.0] and capsys.readouterr().err == 'error in process 3: it is so; do this\n'


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
    with pytest.raises(SystemExit), report_user_errors():
        import_module('no_such_package.part')
    first, second, third = capsys.readouterr().err.splitlines()
    assert third == "error: No module named 'no_such_package'; to install it: pip install no_such_package"
    assert first == 'error: an index needs x: pip install x'
    assert 'libxcb' in second and second.endswith('pip install --force-reinstall --no-deps opencv-python-headless')


def test_messages_have_no_address_in_memory():
    with pytest.raises(UnidentifiedImageError, match='object at 0x') as raised:
        Image.open(io.BytesIO(b'none'))
    assert one_line(raised.value) == 'cannot identify image file BytesIO'


@pytest.mark.parametrize(
    'name, message',
    [
        ('epoch_50.pth', 'checkpoint {}/epoch_50.pth does not exist; the nearest in its folder is epoch_2.pth'),
        ('other.safetensors', 'checkpoint {}/other.safetensors does not exist; check the path'),
        ('runs/a/epoch_5.pth', 'checkpoint {0}/runs/a/epoch_5.pth does not exist: there is no folder {0}/runs'),
    ],
)
def test_a_missing_file_names_its_neighbours(name, message, tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    assert explain_missing('checkpoint', tmp_path / name) == message.format(tmp_path)
