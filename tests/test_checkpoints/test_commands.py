"""The command line tools/checkpoints.py."""

import hashlib
import json
from pathlib import Path

import layout_writers as writers
import pytest
import torch
from golden_files import load_golden
from test_layouts import save
from tiny_models import build_timm
from tiny_run import call_tool, write_images

from glsim_mm.apis import GLSimInferencer, load_config, load_model
from glsim_mm.checkpoints.checkpoint_files import read_checkpoint
from glsim_mm.checkpoints.vit_layouts import LAYOUTS


def fails_in_one_line(capsys, *arguments):
    """Call the tool, which must fail with exit code 2, and return its one line on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        call_tool('checkpoints', *arguments)
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_inspect_prints_what_a_file_holds(tmp_path, capsys):
    call_tool('checkpoints', 'inspect', save(tmp_path, 'a.npz', writers.google_npz(build_timm('vit').state_dict())))
    out = capsys.readouterr().out
    assert 'layout      vit-npz' in out
    assert 'left out    pre_logits/kernel' in out
    assert "'type': 'GLSimViT'" in out


def test_convert_and_export(tmp_path, capsys):
    state = build_timm('dinov2', num_classes=0).state_dict()
    source = save(tmp_path, 'dinov2.pth', writers.dinov2(state))
    ours, theirs = tmp_path / 'ours.safetensors', tmp_path / 'timm.safetensors'
    call_tool('checkpoints', 'convert', source, '--layout', 'dinov2', '--out', ours, '--img-size', 48, '32')
    assert f'wrote {ours}: 34 tensors, read in dinov2 layout' in capsys.readouterr().out
    assert read_checkpoint(ours).tensors['backbone.pos_embed'].shape == (1, 25, 32)
    call_tool('checkpoints', 'export', source, '--to', 'timm', '--out', theirs)
    assert 'left out: mask_token' in capsys.readouterr().out
    assert read_checkpoint(theirs).tensors.keys() == state.keys()


def test_authors_checkpoint_becomes_a_model_that_predicts(tmp_path, shared_root, capsys):
    source = shared_root / 'golden' / 'official_format_tiny.pth'
    weights, config = tmp_path / 'glsim.safetensors', tmp_path / 'configs' / 'glsim_official.py'
    call_tool('checkpoints', 'convert', source, '--out', weights, '--config-out', config)
    assert f'wrote {config}' in capsys.readouterr().out
    model = load_model(load_config(config), str(weights), 'cpu')
    arrays = load_golden(shared_root / 'golden', 'cos_64px_p16_top2_agg2').arrays
    with torch.no_grad():
        assert (model(arrays['images'], mode='tensor') - arrays['logits']).abs().max() <= 1e-4
    image = next(write_images(tmp_path / 'images', 90).rglob('*.png'))
    direct = GLSimInferencer(str(config), f'glsim://{source}', 'cpu')(str(image))[0]
    assert len(direct['pred_scores']) == 13
    assert GLSimInferencer(str(config), str(weights), 'cpu')(str(image))[0]['pred_score'] == direct['pred_score']
    back = tmp_path / 'back.pth'
    call_tool('checkpoints', 'export', weights, '--to', 'glsim', '--config', config, '--out', back)
    first, second = read_checkpoint(source).tensors, read_checkpoint(back).tensors
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_publish_with_metrics_and_config(tmp_path, capsys, root):
    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': {'epoch': 3}}, tmp_path / 'epoch_3.pth')
    (tmp_path / 'metrics.json').write_text(json.dumps({'accuracy/top1': 91.0}))
    config = root / 'configs' / 'glsim_vit_cub.py'
    arguments = ['--metrics', tmp_path / 'metrics.json', '--config', config, '--out', tmp_path / 'glsim_cub.pth']
    call_tool('checkpoints', 'publish', tmp_path / 'epoch_3.pth', *arguments)
    path = capsys.readouterr().out.strip().removeprefix('wrote ')
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest().startswith(Path(path).stem[-8:])
    meta = read_checkpoint(path).meta
    assert meta['metrics'] == {'accuracy/top1': 91.0}
    assert 'GLSimClassifier' in meta['cfg']


def test_mistakes_are_told_in_one_line(tmp_path, capsys):
    source = save(tmp_path, 'vit.pth', build_timm('vit').state_dict())
    out = tmp_path / 'out.pth'
    line = fails_in_one_line(capsys, 'inspect', tmp_path / 'gone.pth')
    assert line == f'error: checkpoint {tmp_path / "gone.pth"} does not exist; check the path'
    assert 'GLSim checkpoints say how to build' in fails_in_one_line(
        capsys, 'convert', source, '--out', out, '--config-out', tmp_path / 'c.py'
    )
    assert 'give the config' in fails_in_one_line(capsys, 'export', source, '--to', 'glsim', '--out', out)
    (tmp_path / 'm.json').write_text('[]')
    assert 'holds no metrics; write them with glsim test' in fails_in_one_line(
        capsys, 'publish', source, '--out', out, '--metrics', tmp_path / 'm.json'
    )
    assert 'cannot read the metrics in' in fails_in_one_line(
        capsys, 'publish', source, '--out', out, '--metrics', tmp_path / 'n.json'
    )
    assert 'SIDE or HEIGHT WIDTH' in fails_in_one_line(capsys, 'convert', source, '--out', out, '--img-size', 1, 2, 3)


def test_command_line_names_every_layout(root):
    assert str(tuple(LAYOUTS)) in (root / 'tools' / 'checkpoints.py').read_text()
