"""Published checkpoints: no state of training, a hash in the name, provenance inside, and they load again."""

import hashlib
import json

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook
from mmpretrain.registry import MODELS
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_run import CLASSES, call_tool, write_config, write_images

from glsim_mm.apis import GLSimInferencer, build_runner, load_config
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file
from glsim_mm.checkpoints.inspection import inspect_checkpoint
from glsim_mm.checkpoints.publishing import publish, to_plain, write_checkpoint
from glsim_mm.errors import GLSimError

SUFFIXES = ('.pth', '.safetensors')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('published') / 'images')


@pytest.fixture(scope='module')
def trained(images, tmp_path_factory):
    """Config and last checkpoint of a run with averaged weights."""
    folder = tmp_path_factory.mktemp('ema')
    extra = 'custom_hooks = [dict(type="EMAHook", momentum=0.5), *_base_.custom_hooks]\n'
    config = write_config(folder / 'tiny_published.py', images, extra)
    call_tool('train', config, '--work-dir', folder / 'work')
    return config, folder / 'work' / 'epoch_2.pth'


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_only_weights_and_provenance_are_left(trained, tmp_path, suffix):
    config, checkpoint = trained
    metrics = {'accuracy/top1': np.float32(87.5)}
    path = publish(checkpoint, tmp_path / f'tiny{suffix}', metrics=metrics, commit='abc123')
    assert path.stem == f'tiny-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}'
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size < 0.7 * checkpoint.stat().st_size
    source, content = load_checkpoint_file(checkpoint), load_checkpoint_file(path)
    assert not {'optimizer', 'param_schedulers', 'message_hub', 'ema_state_dict'} & set(content)
    assert content['state_dict'].keys() == source['state_dict'].keys()
    assert all(torch.equal(content['state_dict'][name], tensor) for name, tensor in source['state_dict'].items())
    meta = content['meta']
    assert meta['metrics'] == {'accuracy/top1': 87.5}
    assert meta['git_commit'] == 'abc123'
    assert list(meta['dataset_meta']['classes']) == list(CLASSES)
    assert 'GLSimClassifier' in meta['cfg']
    assert meta['epoch'] == 2
    assert meta['source'] == 'epoch_2.pth'
    assert meta['versions']['torch'] == torch.__version__.partition('+')[0] or torch.__version__
    assert 'accuracy/top1' in meta['last_validation']
    assert 'provenance  epoch=2' in '\n'.join(inspect_checkpoint(str(path)))


def test_same_weights_get_the_same_name(trained, tmp_path):
    for suffix in SUFFIXES:
        names = {publish(trained[1], tmp_path / folder / f'a{suffix}', commit='c').name for folder in ('x', 'y')}
        assert len(names) == 1


def test_safetensors_header_is_readable_by_others(trained, tmp_path):
    path = publish(trained[1], tmp_path / 'tiny.safetensors')
    with safe_open(path, framework='pt') as file:
        header = file.metadata()
        assert 'backbone.cls_token' in file.keys()
    assert header['format'] == 'pt'
    assert json.loads(header['glsim_mm'])['source'] == 'epoch_2.pth'


def test_averaged_and_last_weights(trained, tmp_path):
    config, checkpoint = trained
    content = load_checkpoint_file(checkpoint)
    assert 'ema_state_dict' in content
    averaged = load_checkpoint_file(publish(checkpoint, tmp_path / 'a.pth', weights='averaged'))
    last = load_checkpoint_file(publish(checkpoint, tmp_path / 'l.pth', weights='last'))
    name = 'backbone.layers.1.attn.qkv.weight'
    assert (averaged['meta']['weights'], last['meta']['weights']) == ('averaged', 'last')
    assert torch.equal(averaged['state_dict'][name], content['state_dict'][name])
    assert torch.equal(last['state_dict'][name], content['ema_state_dict'][f'module.{name}'])
    assert not torch.equal(last['state_dict'][name], averaged['state_dict'][name])
    # mmengine restores the trained weights from the same place when it resumes
    runner = build_runner(load_config(config, dict(work_dir=str(tmp_path / 'work'))))
    hook = next(hook for hook in runner.hooks if isinstance(hook, EMAHook))
    hook.before_run(runner)
    hook.after_load_checkpoint(runner, content)
    assert torch.equal(content['state_dict'][name], last['state_dict'][name])


def test_published_file_is_tested_and_predicts(trained, images, tmp_path):
    checkpoint = trained[1]
    path = publish(checkpoint, tmp_path / 'tiny.safetensors')
    outs = []
    for weights in (checkpoint, path):
        config = write_config(tmp_path / f'tested_{weights.stem}.py', images)  # see write_config
        outs.append(tmp_path / f'{weights.stem}.json')
        call_tool('test', config, weights, '--out', outs[-1], '--out-item', 'metrics', '--work-dir', tmp_path / 'work')
    first, second = (json.loads(out.read_text()) for out in outs)
    assert first['accuracy/top1'] == second['accuracy/top1']
    image = str(next((images / 'val').rglob('*.png')))
    results = [GLSimInferencer(str(config), str(weights), 'cpu')(image)[0] for weights in (checkpoint, path)]
    assert results[1]['pred_class'] in CLASSES
    assert results[1]['pred_scores'].tolist() == results[0]['pred_scores'].tolist()


def test_published_file_cannot_be_resumed(trained, images, tmp_path, capsys):
    path = publish(trained[1], tmp_path / 'tiny.safetensors')
    config = write_config(tmp_path / 'tiny_resumed.py', images)
    with pytest.raises(SystemExit):
        call_tool('train', config, '--work-dir', tmp_path / 'work', '--resume', path)
    assert 'weights only and cannot be resumed' in capsys.readouterr().err


def test_checkpoints_that_cannot_be_published(trained, tmp_path):
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'plain.pth')
    with pytest.raises(GLSimError, match='no averaged weights'):
        publish(tmp_path / 'plain.pth', tmp_path / 'out.pth', weights='averaged')
    torch.save({'state_dict': {}}, tmp_path / 'empty.pth')
    with pytest.raises(GLSimError, match=r'empty\.pth holds no tensors'):
        publish(tmp_path / 'empty.pth', tmp_path / 'out.pth')
    with pytest.raises(GLSimError, match=r'ends in \.pth or \.safetensors'):
        publish(trained[1], tmp_path / 'out.ckpt')
    with pytest.raises(ValueError, match='best'):
        publish(trained[1], tmp_path / 'out.pth', weights='best')


@pytest.mark.parametrize('header', ['{', '3', '"text"'])
def test_header_that_is_no_provenance(tmp_path, header):
    save_file({'a': torch.ones(1)}, tmp_path / 'a.safetensors', metadata={'glsim_mm': header})
    if header == '{':
        with pytest.raises(GLSimError, match='damaged'):
            load_checkpoint_file(tmp_path / 'a.safetensors')
    else:
        assert load_checkpoint_file(tmp_path / 'a.safetensors')['meta'] == {}


def test_values_that_json_does_not_know(tmp_path):
    meta = dict(a=np.float32(0.5), b=(1, {2}), c=torch.ones(2), d={'x': MODELS}, e=None, f=True)
    assert to_plain(meta) == dict(a=0.5, b=[1, [2]], c=[1.0, 1.0], d={'x': str(MODELS)}, e=None, f=True)
    tied = torch.ones(2, 2)
    path = write_checkpoint(tmp_path / 'a.safetensors', {'a': tied, 'b': tied, 'c': tied.T}, meta)
    assert load_checkpoint_file(path)['meta']['a'] == 0.5
    assert load_checkpoint_file(path)['state_dict'].keys() == {'a', 'b', 'c'}
