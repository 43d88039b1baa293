"""Checkpoints are read completely, and never run code."""

import contextlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

from glsim_mm.checkpoints import addresses
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file
from glsim_mm.errors import GLSimError


@pytest.fixture(autouse=True)
def _safe_loaders():
    addresses.register_loaders()


class Calls:
    """Pickles as a call of a function, whose result then gets a state if there is one."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts

    def __call__(self):
        """pickle wants something callable."""


def runs_command(witness: Path) -> Calls:
    return Calls(os.system, f'touch {witness}')


def gets(owner: object, name: str) -> Calls:
    """Pickles as getattr, the one builtin that mmengine's checkpoints ask for."""
    return Calls(getattr, owner, name)


def gets_eval(witness: Path) -> Calls:
    """Pickles as a way from an allowed method to eval, attribute by attribute."""
    names = gets(gets(HistoryBuffer, 'mean'), '__globals__')
    builtins = Calls(gets(names, 'get'), '__builtins__')
    return Calls(Calls(gets(builtins, 'get'), 'eval'), f"open({str(witness)!r}, 'w')")


def test_checkpoint_of_mmengine_is_read_completely(tmp_path):
    hub = MessageHub('test_safe_checkpoints')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('best_score', np.float64(0.25))
    hub.update_info('last_ckpt', 'epoch_1.pth')
    meta = dict(epoch=1, classes=np.array(['wren', 'tit']), counts=np.arange(3, dtype=np.int32), ok=np.bool_(True))
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=meta, message_hub=hub.state_dict(), state_dict=dict(weight=torch.ones(2))), path)

    checkpoint = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.mean() == 0.5
    assert history.statistics('max') == 0.5
    assert checkpoint['message_hub']['runtime_info']['best_score'] == 0.25
    assert list(checkpoint['meta']['classes']) == ['wren', 'tit']
    assert checkpoint['meta']['counts'].tolist() == [0, 1, 2]
    assert checkpoint['state_dict']['weight'].sum() == 2


@pytest.mark.parametrize('attack', [runs_command, gets_eval])
@pytest.mark.parametrize('protocol', [2, 4])
def test_code_in_a_checkpoint_is_refused(tmp_path, monkeypatch, attack, protocol):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    witness, path = tmp_path / 'witness', tmp_path / 'evil.pth'
    torch.save(dict(state_dict={}, meta=attack(witness)), path, pickle_protocol=protocol)
    with pytest.raises(GLSimError) as error:
        CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert not witness.exists()
    assert '\n' not in str(error.value)
    assert str(path) in str(error.value)
    with contextlib.suppress(TypeError, AttributeError, pickle.UnpicklingError):
        torch.load(path, weights_only=False)  # the attack is real
    assert witness.exists()


@pytest.mark.parametrize(
    'wish',
    [
        gets(HistoryBuffer, '__init__'),
        gets(HistoryBuffer, '__class__'),
        gets(np.ndarray, 'tofile'),
        gets(torch.Tensor, 'apply_'),
        Calls(np.dtype, 'O'),
        Calls(np.dtype, [('name', 'O')]),
        Calls(getattr, HistoryBuffer, 'mean', None),
    ],
)
def test_only_what_mmengine_pickles_can_be_reached(tmp_path, wish):
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict={}, meta=wish), path)
    with pytest.raises(GLSimError):
        load_checkpoint_file(path)


def test_statistics_methods_cannot_be_replaced_by_code(tmp_path):
    buffer, path = HistoryBuffer([1.0], [1]), tmp_path / 'evil.pth'
    state = {'statistics_methods': {'mean': os.system}, 'max_length': 1}
    torch.save(dict(state_dict={}, meta=Calls(HistoryBuffer, state=state)), path)
    with pytest.raises(GLSimError, match='asks to run code'):
        load_checkpoint_file(path)
    assert buffer.statistics('mean') == 1


@pytest.mark.parametrize('content', [b'', b'no checkpoint', b'PK\x03\x04 cut short'])
def test_damaged_file(tmp_path, content):
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    with pytest.raises(GLSimError, match='damaged or no checkpoint'):
        load_checkpoint_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(GLSimError, match='does not exist'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'missing.pth'))


def test_every_scheme_of_mmengine_is_replaced():
    others = {prefix for prefix, loader in CheckpointLoader._schemes.items() if loader.__module__ != addresses.__name__}
    assert others == {'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://'}  # need packages that PyPI does not have


def test_names_of_model_zoos():
    with pytest.raises(GLSimError, match='torchvision://nothing'):
        CheckpointLoader.load_checkpoint('torchvision://nothing')
    with pytest.raises(GLSimError, match='open-mmlab://nothing'):
        CheckpointLoader.load_checkpoint('open-mmlab://nothing')
    with pytest.raises(GLSimError, match='mmcls://nothing'):
        CheckpointLoader.load_checkpoint('mmcls://nothing')


def test_checkpoint_from_a_url(tmp_path, server):
    folder, address = server
    torch.save(dict(state_dict=dict(weight=torch.ones(1))), folder / 'good.pth')
    witness = tmp_path / 'witness'
    torch.save(dict(state_dict={}, meta=runs_command(witness)), folder / 'evil.pth')

    assert CheckpointLoader.load_checkpoint(f'{address}/good.pth', 'cpu')['state_dict']['weight'] == 1
    (folder / 'good.pth').unlink()  # the second time it comes from the cache
    assert CheckpointLoader.load_checkpoint(f'{address}/good.pth', 'cpu')['state_dict']['weight'] == 1
    with pytest.raises(GLSimError, match='asks to run code'):
        CheckpointLoader.load_checkpoint(f'{address}/evil.pth', 'cpu')
    assert not witness.exists()
    with pytest.raises(GLSimError, match='cannot download'):
        CheckpointLoader.load_checkpoint(f'{address}/missing.pth', 'cpu')
