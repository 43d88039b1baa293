"""Files are read whole, as float32, and no code in them runs."""

import argparse
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_safe_loading import Calls, runs_command

from glsim_mm.checkpoints.checkpoint_files import AuthorsSettings, read_checkpoint
from glsim_mm.errors import GLSimError

TENSORS = {'a': torch.arange(3.0), 'b': torch.ones(2, 2)}


@pytest.mark.parametrize(
    'content',
    [
        TENSORS,
        {'state_dict': TENSORS, 'optimizer': {'state': {}}},
        {'model': {f'module.{name}': tensor for name, tensor in TENSORS.items()}, 'epoch': 3},
        {'model': {'state_dict': TENSORS}},
        {'model': {name: tensor + 1 for name, tensor in TENSORS.items()}, 'model_ema': TENSORS},
        {'teacher': {f'_orig_mod.module.{name}': tensor for name, tensor in TENSORS.items()}},
    ],
)
def test_model_is_found_in_what_training_programs_save(tmp_path, content):
    torch.save(content, tmp_path / 'w.pth')
    read = read_checkpoint(tmp_path / 'w.pth').tensors
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_in_full_precision_out(tmp_path, dtype):
    content = {'a': torch.arange(3).to(dtype), 'index': torch.arange(3)}
    torch.save(content, tmp_path / 'w.bin')
    save_file(content, tmp_path / 'w.safetensors')
    for name in ('w.bin', 'w.safetensors'):
        read = read_checkpoint(tmp_path / name).tensors
        assert read['a'].dtype == torch.float32
        assert read['a'].tolist() == [0, 1, 2]
        assert read['index'].dtype == torch.int64


def test_bfloat16_of_jax(tmp_path):
    raw = torch.tensor([1.5, -2.0]).bfloat16().view(torch.int16).numpy().view('V2')
    np.savez(tmp_path / 'w.npz', kernel=raw)
    read = read_checkpoint(tmp_path / 'w.npz').tensors['kernel']
    assert read.dtype == torch.float32
    assert read.tolist() == [1.5, -2.0]


@pytest.mark.parametrize('give_folder', [True, False])
def test_shards(tmp_path, give_folder):
    for name in TENSORS:
        save_file({name: TENSORS[name]}, tmp_path / f'{name}.safetensors')
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': {name: f'{name}.safetensors' for name in TENSORS}}))
    read = read_checkpoint(tmp_path if give_folder else index).tensors
    assert read.keys() == TENSORS.keys()


@pytest.mark.parametrize('name', ['../secret.safetensors', '/etc/passwd', 3])
def test_shards_outside_the_folder_are_not_read(tmp_path, name):
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': {'a': name}}))
    with pytest.raises(GLSimError, match='outside its folder'):
        read_checkpoint(index)


@pytest.mark.parametrize('content', ['', '[]', '{"weight_map": 3}', '{}'])
def test_damaged_index(tmp_path, content):
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(content)
    with pytest.raises(GLSimError, match=r'index\.json is damaged'):
        read_checkpoint(index)


def test_missing_shard_and_empty_folder(tmp_path):
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': {'a': 'gone.safetensors'}}))
    with pytest.raises(GLSimError, match=r'gone\.safetensors does not exist'):
        read_checkpoint(index)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(GLSimError, match='holds none of'):
        read_checkpoint(tmp_path / 'empty')
    with pytest.raises(GLSimError, match=r'no\.pth does not exist'):
        read_checkpoint(tmp_path / 'no.pth')


@pytest.mark.parametrize('place', ['config', 'model'])
def test_pickle_bomb_is_refused(tmp_path, place):
    witness, path = tmp_path / 'witness', tmp_path / 'evil.pth'
    torch.save({'model': {}, place: runs_command(witness)}, path)
    with pytest.raises(GLSimError, match=r'evil\.pth asks to run code \((posix|nt)\.system\) and was refused'):
        read_checkpoint(path)
    assert not witness.exists()
    torch.load(path, weights_only=False)  # the attack is real
    assert witness.exists()


def test_pickle_bomb_in_the_settings_is_refused(tmp_path):
    witness, path = tmp_path / 'witness', tmp_path / 'evil.pth'
    torch.save({'model': TENSORS, 'config': argparse.Namespace(lr=0.1, evil=runs_command(witness))}, path)
    with pytest.raises(GLSimError, match='asks to run code'):
        read_checkpoint(path)
    assert not witness.exists()


def test_pickle_bomb_in_an_npz_is_refused(tmp_path):
    witness, path = tmp_path / 'witness', tmp_path / 'evil.npz'
    np.savez(path, kernel=np.array([runs_command(witness)], dtype=object))
    with pytest.raises(GLSimError, match=r'evil\.npz asks to run code'):
        read_checkpoint(path)
    assert not witness.exists()


@pytest.mark.filterwarnings('ignore:.*torch.jit')
def test_an_exported_model_is_no_checkpoint(tmp_path):
    (tmp_path / 'model.onnx').touch()
    with pytest.raises(GLSimError, match='give the checkpoint that it was exported from'):
        read_checkpoint(tmp_path / 'model.onnx')


def test_torchscript_is_not_run(tmp_path):
    path = tmp_path / 'ViT-B-32.pt'
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)
    with pytest.raises(GLSimError, match='TorchScript program, not weights, and was not run'):
        read_checkpoint(path)


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors', 'w.npz'])
@pytest.mark.parametrize('kept', [0, 10, 200, -40])
def test_truncated_file(tmp_path, name, kept):
    path = tmp_path / name
    big = {'a': torch.randn(40, 40)}
    if name.endswith('.npz'):
        np.savez_compressed(path, a=big['a'].numpy())
    elif name.endswith('.pth'):
        torch.save(big, path)
    else:
        save_file(big, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(GLSimError, match=rf'{name} is damaged or no checkpoint') as error:
        read_checkpoint(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [torch.ones(2), [torch.ones(2)], {'model': {}}, {'note': 'nothing here'}])
def test_file_without_weights(tmp_path, content):
    torch.save(content, tmp_path / 'w.pth')
    with pytest.raises(GLSimError, match=r'w\.pth holds'):
        read_checkpoint(tmp_path / 'w.pth')


def test_file_that_nests_without_end(tmp_path):
    content: dict = {'a': torch.ones(1)}
    content['model'] = content
    torch.save(content, tmp_path / 'w.pth')
    assert read_checkpoint(tmp_path / 'w.pth').tensors.keys() == {'a'}


def test_settings_keep_plain_values_only(tmp_path):
    nested: list = [1]
    nested.append(nested)
    settings = argparse.Namespace(lr=0.1, sizes=[1, 2], device=torch.device('cpu'), nested=nested, none=None, t=TENSORS)
    torch.save({'config': settings, 'model': TENSORS}, tmp_path / 'w.pth')
    read = read_checkpoint(tmp_path / 'w.pth')
    assert read.settings == {'lr': 0.1, 'sizes': [1, 2], 'device': 'cpu', 'none': None}
    torch.save({'config': argparse.Namespace(), 'model': TENSORS}, tmp_path / 'w.pth')
    assert read_checkpoint(tmp_path / 'w.pth').settings == {}


@pytest.mark.parametrize('state', [{'__class__': 1, 'values': 2, 'lr': 3}, ['no', 'mapping'], 7])
def test_settings_cannot_be_given_another_shape(tmp_path, state):
    torch.save({'config': Calls(argparse.Namespace, state=state), 'model': TENSORS}, tmp_path / 'w.pth')
    settings = read_checkpoint(tmp_path / 'w.pth').settings
    assert settings == (state if isinstance(state, dict) else {})
    stand_in = AuthorsSettings()
    stand_in.__setstate__(state)
    assert type(stand_in) is AuthorsSettings


def test_namespace_stays_forbidden_elsewhere(tmp_path):
    torch.save({'config': argparse.Namespace(lr=1), 'model': TENSORS}, tmp_path / 'w.pth')
    read_checkpoint(tmp_path / 'w.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'w.pth', weights_only=True)
