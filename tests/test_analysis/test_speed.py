"""The benchmark: fair contenders, honest counts, tables and files."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_run import ROOT, call_tool

from glsim_mm.analysis.measuring import MeasuringProcesses, spread, time_in_turns, times_as_fast
from glsim_mm.analysis.model_speed import (
    EAGER,
    PLAIN,
    STRAIGHTFORWARD,
    StraightforwardGLSim,
    Workload,
    build_glsim,
    count_flops,
    make_contender,
    make_images,
    make_step,
    measure_matmul_peak,
    measure_memory,
)
from glsim_mm.apis import load_config
from glsim_mm.models import GLSimViT

WORK = Workload('vit-tiny', 64, 3)


def test_the_straightforward_implementation_computes_the_same():
    images = make_images(Workload('vit-tiny', 96, 3))
    model = build_glsim(Workload('vit-tiny', 96, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        wanted = model(images)
        boxes = model.extract_feat(images, stage='selector').boxes
        found = StraightforwardGLSim(model)(images)
    assert len({tuple(box) for box in boxes.tolist()}) > 1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_flops_of_one_and_two_passes(tmp_path):
    """Two passes less most of the last block, plus an aggregator on two tokens; half of 32 px crops cost a quarter."""
    work = Workload('vit-tiny', 224, 1)
    modes = (PLAIN, EAGER, STRAIGHTFORWARD, 'half-crop', 'off')
    flops = {mode: count_flops(make_contender(mode, work, tmp_path)) for mode in modes}
    assert 1.9 < flops[EAGER] / flops[PLAIN] < 1.95
    assert 2.0 < flops[STRAIGHTFORWARD] / flops[PLAIN] < 2.01
    assert 0.55 < flops['half-crop'] / flops[EAGER] < 0.65
    assert 0.5 < flops['off'] / flops[EAGER] < 0.55


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['eager', 'torch-linear', 'onnxruntime', 'bf16', 'half-crop', 'merged', 'off'])
def test_every_mode_computes_logits(mode, tmp_path, monkeypatch):
    shallow = {**GLSimViT.arch_zoo['vit-tiny'], 'num_layers': 2}  # twelve take 14 seconds to export
    monkeypatch.setitem(GLSimViT.arch_zoo, 'vit-tiny', shallow)
    found = make_contender(mode, WORK, tmp_path)()
    logits = torch.as_tensor(found['logits']) if isinstance(found, dict) else found
    assert logits.shape == (3, 200) and logits.isfinite().all()
    if mode in ('torch-linear', 'onnxruntime'):
        torch.testing.assert_close(logits, make_contender(EAGER, WORK, tmp_path)(), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_peak_memory_is_less_than_half_of_the_straightforward_implementation(tmp_path):
    """At 448 px the attention matrices that are not made are most of it."""
    work, make = Workload('vit-tiny', 448, 4, threads=1), partial(make_contender, folder=tmp_path)
    with MeasuringProcesses() as processes:
        slow, fast = (measure_memory(mode, work, make, processes) for mode in (STRAIGHTFORWARD, EAGER))
    assert 2 * fast < slow


def test_turns_and_ratios():
    calls = []
    contenders = {name: (lambda name=name: calls.append(name)) for name in 'abc'}
    times = time_in_turns(contenders, 2)
    assert calls == ['a', 'b', 'c', 'b', 'c', 'a', 'c', 'a', 'b']
    assert [len(values) for values in times.values()] == [2, 2, 2]
    assert times_as_fast([1.0, 2.0, 4.0], [2.0, 4.0, 8.0]).median == 2.0
    assert spread([1.0, 2.0, 3.0]).median == 2.0
    assert measure_matmul_peak(rounds=1) > 0


@pytest.mark.parametrize('name', ['plain', 'straightforward', 'glsim', 'checkpointing', 'frozen'])
def test_training_steps_change_weights(name):
    step = make_step(name, WORK)
    model = step.args[0]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert (len(changed) < len(before) / 2) == (name == 'frozen')


@pytest.mark.slow
def test_command_line(tmp_path, capsys):
    arguments = ['--models', 'vit-tiny', '--sizes', 64, '--batch-sizes', 1, '--rounds', 2, '--no-memory']
    call_tool('benchmark', 'inference', *arguments, '--modes', 'eager', 'off', '--out', tmp_path / 'out')
    assert 'Selecting and cropping' in capsys.readouterr().out
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert [row['mode'] for row in results['rows']] == ['plain', 'straightforward', 'eager', 'off']
    assert results['rows'][0]['vs_plain']['median'] == 1.0
    assert torch.__version__.startswith(results['machine']['versions']['torch'])
    assert (tmp_path / 'out' / 'results.md').read_text().count('\n') == 6
    call_tool('benchmark', 'training', *arguments)
    assert '| checkpointing |' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--modes', 'fast'], "no mode 'fast'"),
        (['--models', 'resnet'], "no model 'resnet'"),
        (['--sizes', '50'], 'multiples of 32'),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        call_tool('benchmark', 'inference', *arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_recorded_recipes_build():
    """The configs of docs/studies/performance.md."""
    for path in sorted((ROOT / 'configs' / 'efficiency').glob('*.py')):
        cfg = load_config(path)
        assert Path(cfg.filename) == path and cfg.model.type == 'GLSimClassifier'
