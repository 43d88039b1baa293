"""tools/train.py and tools/test.py, run as users run them."""

import re
import shutil
import sys
from pathlib import Path

import mmengine
import pytest
import torch
from fresh_processes import run_tool
from PIL import Image
from tiny_run import CLASSES, PER_CLASS, ROOT, call_tool, read_log, run_command, write_config

from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file

NUM_IMAGES = PER_CLASS * len(CLASSES)


@pytest.fixture(scope='module')
def trained(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work directory of an uninterrupted run of the real command line, from a folder that is not the repository."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_config(folder / 'tiny_trained.py', tiny_images)
    result = run_command(sys.executable, ROOT / 'tools' / 'train.py', config.name, cwd=folder)
    assert result.returncode == 0, result.stderr
    written, following = result.stderr.splitlines()  # no warnings of libraries either
    assert written == 'written: work_dirs/tiny_trained'
    best = r'work_dirs/tiny_trained/best_accuracy_top1_epoch_\d\.pth'
    assert re.fullmatch(rf'next: python {ROOT}/tools/test\.py tiny_trained\.py {best}', following)
    return folder / 'work_dirs' / 'tiny_trained'


@pytest.fixture
def interrupted(trained: Path, tmp_path: Path) -> Path:
    """Work directory of a run that ended after its first epoch."""
    folder = tmp_path / 'work'
    folder.mkdir()
    shutil.copy(trained / 'epoch_1.pth', folder)
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    return folder


def weights(path: Path) -> dict:
    return load_checkpoint_file(path)['state_dict']


def fails_in_one_line(capsys: pytest.CaptureFixture, tool: str, *arguments: object) -> str:
    """Call a tool that must fail with exit code 2 and return its one line on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        call_tool(tool, *arguments)
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith('error: ')
    return lines[0]


def test_training_writes_checkpoints_and_log(trained):
    assert {path.name for path in trained.glob('epoch_*.pth')} == {'epoch_1.pth', 'epoch_2.pth'}
    assert list(trained.glob('best_accuracy_top1_epoch_*.pth'))
    assert (trained / 'last_checkpoint').read_text() == str(trained / 'epoch_2.pth')
    first, second = weights(trained / 'epoch_1.pth'), weights(trained / 'epoch_2.pth')
    assert any(not torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
def test_resumed_run_equals_uninterrupted_run(trained, interrupted, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_trained.py', tiny_images)
    result = run_tool('train', config, '--work-dir', interrupted, '--resume', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    expected, found = weights(trained / 'epoch_2.pth'), weights(interrupted / 'epoch_2.pth')
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_testing_writes_predictions_and_pictures(trained, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_tested.py', tiny_images)
    outputs = ['--out', 'predictions.pkl', '--show-dir', 'pictures']
    result = run_tool('test', config, trained / 'epoch_2.pth', *outputs, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == [
        'written: work_dirs/tiny_tested, predictions.pkl, pictures',
        f'next: python {ROOT}/tools/infer.py tiny_tested.py {trained / "epoch_2.pth"} PHOTO.jpg',
    ]
    predictions = mmengine.load(tmp_path / 'predictions.pkl')
    assert len(predictions) == NUM_IMAGES
    assert predictions[0]['pred_score'].shape == (len(CLASSES),)
    assert predictions[0]['selected_box'].shape == (4,)
    assert len(list((tmp_path / 'pictures' / 'val').glob('*/*.png'))) == NUM_IMAGES
    assert re.search(r'accuracy/top1: \d+', result.stdout)


def test_prediction_by_mmpretrain_inferencer(trained, tiny_images, tmp_path):
    from mmpretrain import ImageClassificationInferencer

    config = write_config(tmp_path / 'tiny_predicted.py', tiny_images)
    inferencer = ImageClassificationInferencer(str(config), pretrained=str(trained / 'epoch_2.pth'), device='cpu')
    prediction = inferencer(str(tiny_images / 'val' / CLASSES[1] / f'{CLASSES[1]}0.png'))[0]
    assert prediction['pred_class'] in CLASSES
    assert sum(prediction['pred_scores']) == pytest.approx(1, abs=1e-5)


def test_metrics_and_mirrored_views(trained, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_tta.py', tiny_images)
    out = tmp_path / 'metrics.json'
    arguments = ['--tta', '--amp', '--out', out, '--out-item', 'metrics', '--work-dir', tmp_path / 'work']
    call_tool('test', config, trained / 'epoch_2.pth', *arguments)
    assert 0 <= mmengine.load(out)['accuracy/top1'] <= 100


def test_off_centre_photos_are_other_photos(trained, tiny_images, tmp_path):
    scores = []
    for name, options in (('plain', []), ('moved', ['--off-centre']), ('again', ['--off-centre', '--tta'])):
        config = write_config(tmp_path / f'tiny_{name}.py', tiny_images)
        out = tmp_path / f'{name}.pkl'
        call_tool('test', config, trained / 'epoch_2.pth', *options, '--out', out, '--work-dir', tmp_path / name)
        scores.append(torch.stack([sample['pred_score'] for sample in mmengine.load(out)]))
    assert all(not torch.allclose(scores[0], moved, atol=1e-4) for moved in scores[1:])
    assert len(scores[1]) == NUM_IMAGES
    used = mmengine.Config.fromfile(tmp_path / 'moved' / 'tiny_moved.py')
    steps = [step['type'] for step in used.test_dataloader.dataset.pipeline]
    assert steps == ['LoadImage', 'OffCentre', 'Resize', 'PackInputs']
    assert used.test_dataloader.dataset.pipeline[1].backgrounds.data_prefix == 'train'
    assert 'OffCentre' not in str(used.val_dataloader)


def test_amp_on_cpu_changes_weights_little(interrupted, trained, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_amp.py', tiny_images)
    call_tool('train', config, '--work-dir', interrupted, '--resume', '--amp', '--no-validate')
    expected, found = weights(trained / 'epoch_2.pth'), weights(interrupted / 'epoch_2.pth')
    differences = [float((found[name] - value).abs().max()) for name, value in expected.items()]
    assert 0 < max(differences) < 1e-2  # bfloat16 in the forward pass, float32 weights
    assert not list(interrupted.glob('best_*'))
    assert found['head.fc.weight'].dtype == torch.float32


def test_top_five_of_two_classes_is_refused_before_an_epoch_is_spent(tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_top_five.py', tiny_images)
    options = ['--cfg-options', 'val_evaluator.0.topk=(1,5)']
    line = fails_in_one_line(capsys, 'train', config, '--work-dir', tmp_path / 'work', *options)
    assert 'asks for top-5, but the head has 2 classes; set --cfg-options val_evaluator.0.topk=1' in line
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_auto_scale_lr_and_workers(tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_scaled.py', tiny_images)
    options = ['train_cfg.max_epochs=1', 'train_dataloader.num_workers=1', 'param_scheduler=None']
    arguments = ['--auto-scale-lr', '--no-persistent-workers', '--no-pin-memory', '--cfg-options', *options]
    call_tool('train', config, '--work-dir', tmp_path / 'work', *arguments)
    state = load_checkpoint_file(tmp_path / 'work' / 'epoch_1.pth')['optimizer']
    assert state['param_groups'][0]['lr'] == pytest.approx(0.01 * 4 / 8)


def test_unreadable_image_is_skipped_counted_and_reported(tiny_images, tmp_path):
    images = shutil.copytree(tiny_images, tmp_path / 'images')
    (images / 'train' / CLASSES[0] / f'{CLASSES[0]}0.png').write_bytes(b'')
    (images / 'val' / CLASSES[1] / f'{CLASSES[1]}1.png').write_bytes(b'no image')
    config = write_config(tmp_path / 'tiny_unreadable.py', images)
    options = ['train_cfg.max_epochs=1', 'train_dataloader.num_workers=1']
    call_tool('train', config, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    log = read_log(tmp_path / 'work')
    assert '1 unreadable images met in this train epoch' in log
    assert '1 unreadable images met in this val epoch' in log
    assert (tmp_path / 'work' / 'epoch_1.pth').is_file()


@pytest.mark.slow
def test_nan_loss_ends_run_and_keeps_last_good_checkpoint(tiny_images, tmp_path, capsys):
    exploding = "param_scheduler = [dict(type='MultiStepLR', gamma=1e30, milestones=[1])]\n"
    config = write_config(tmp_path / 'tiny_nan.py', tiny_images, exploding)
    work_dir = tmp_path / 'work'
    options = ['default_hooks.checkpoint.max_keep_ckpts=1', 'train_cfg.max_epochs=3']
    error = fails_in_one_line(capsys, 'train', config, '--work-dir', work_dir, '--cfg-options', *options)
    assert 'iteration 4' in error
    assert str(work_dir / 'epoch_1.pth') in error
    assert [path.name for path in work_dir.glob('epoch_*.pth')] == ['epoch_1.pth']
    assert all(torch.isfinite(value).all() for value in weights(work_dir / 'epoch_1.pth').values())


@pytest.mark.parametrize(
    'options, expected',
    [
        (['model.neck.topo=3'], "GLSimSelector has no field 'topo' (did you mean 'top_o'?)"),
        (['optim_wrapper.optimizer.lrr=3'], "SGD has no field 'lrr' (did you mean 'lr'?)"),
        (['param_scheduler.0.Tmax=3'], "CosineAnnealingLR has no field 'Tmax' (did you mean 'T_max'?)"),
        (['modl.head.num_classes=3'], 'no config field modl; did you mean model?'),
        (['model.head.type=Nothing'], "no model of type 'Nothing'"),
        (['train_dataloader.dataset.data_root=nowhere'], 'nowhere'),
        (['model.head.num_classes=7'], 'set --cfg-options model.head.num_classes=2'),
        (['model.backbone.patch_size=64'], 'patch'),
    ],
)
def test_mistakes_in_the_config(options, expected, interrupted, tiny_images, tmp_path, capsys):
    name = re.sub(r'\W', '_', options[0])
    config = write_config(tmp_path / f'tiny_{name}.py', tiny_images)
    error = fails_in_one_line(capsys, 'train', config, '--work-dir', interrupted, '--cfg-options', *options)
    assert expected in error
    assert (interrupted / 'epoch_1.pth').is_file()


def test_missing_files(interrupted, tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_missing.py', tiny_images)
    assert 'nowhere.py does not exist' in fails_in_one_line(capsys, 'train', 'nowhere.py')
    arguments = (config, '--work-dir', interrupted, '--resume', 'nowhere.pth')
    assert 'nowhere.pth does not exist' in fails_in_one_line(capsys, 'train', *arguments)
    assert 'nowhere.pth does not exist' in fails_in_one_line(capsys, 'test', config, 'nowhere.pth')


def test_folder_without_images(tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_empty.py', tiny_images)
    (tmp_path / 'empty' / 'train' / 'wren').mkdir(parents=True)
    options = ['--cfg-options', f'train_dataloader.dataset.data_root={tmp_path / "empty"}']
    error = fails_in_one_line(capsys, 'train', config, '--work-dir', tmp_path / 'work', *options)
    assert 'there is no folder of photos for each class in' in error


def test_checkpoint_of_another_architecture(trained, tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_other.py', tiny_images)
    options = ['--cfg-options', 'model.backbone.arch.embed_dims=64', 'model.head.in_channels=64']
    checkpoint, work_dir = trained / 'epoch_2.pth', tmp_path / 'work'
    error = fails_in_one_line(capsys, 'test', config, checkpoint, '--work-dir', work_dir, *options)
    assert 'made by another model' in error
    assert 'backbone tensors match' in error
    fine_tune = [*options, f'load_from={checkpoint}']
    assert 'another architecture' in fails_in_one_line(capsys, 'train', config, '--work-dir', work_dir, *fine_tune)
    resume = ['--resume', checkpoint, *options]
    assert 'another model' in fails_in_one_line(capsys, 'train', config, '--work-dir', work_dir, *resume)


def test_another_head_is_allowed_in_fine_tuning(trained, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_finetune.py', tiny_images)
    options = ['model.head.num_layers=2', f'load_from={trained / "epoch_2.pth"}', 'train_cfg.max_epochs=1']
    call_tool('train', config, '--work-dir', tmp_path / 'work', '--no-validate', '--cfg-options', *options)
    assert 'keep their initial values' in read_log(tmp_path / 'work')


def test_traceback_on_demand_and_for_bugs(tiny_images, tmp_path, monkeypatch):
    from glsim_mm.errors import GLSimError

    with pytest.raises(SystemExit):
        call_tool('train', 'nowhere.py')
    monkeypatch.setenv('GLSIM_TRACEBACK', '1')
    with pytest.raises(GLSimError, match='nowhere.py does not exist'):
        call_tool('train', 'nowhere.py')
    monkeypatch.delenv('GLSIM_TRACEBACK')
    config = write_config(tmp_path / 'tiny_bug.py', tiny_images)
    options = ['--auto-scale-lr', '--cfg-options', 'auto_scale_lr.base_batch_size=0']
    with pytest.raises(ZeroDivisionError):  # not known as a user's mistake: shown as it is
        call_tool('train', config, '--work-dir', tmp_path / 'work', *options)


def test_missing_package_is_told_in_one_line(tmp_path):
    for missing in ('mmengine', 'mmcv'):
        folder = tmp_path / missing
        folder.mkdir()
        (tmp_path / 'c.py').touch()
        (folder / f'{missing}.py').write_text(
            f'raise ModuleNotFoundError("No module named {missing!r}", name="{missing}")'
        )
        result = run_command(sys.executable, ROOT / 'tools' / 'train.py', 'c.py', cwd=tmp_path, PYTHONPATH=str(folder))
        assert result.returncode == 2, result.stderr
        (line,) = result.stderr.splitlines()
        assert line.startswith('error: ') and 'pip install' in line and 'mmcv-lite' in line


OVERRIDING = [  # a tool, its arguments before the option
    ('train', ()),
    ('test', ('weights',)),
    ('infer', ('weights', 'photo.png')),
    ('look', ('weights',)),
    ('export', ('weights', '--out', 'model.onnx')),
    ('sweep', ('--grid', 'model.neck.top_o=3')),
    ('benchmark', ()),
    ('datasets/stats', ()),
    ('analysis/crop_curve', ('weights',)),
    ('analysis/selection_quality', ()),
    ('retrieval/benchmark_encoding', ('weights', 'photo.png')),
]


@pytest.mark.parametrize('tool, arguments', OVERRIDING)
def test_all_tools_read_overrides_alike(tool, arguments, tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / f'tiny_{tool.replace("/", "_")}.py', tiny_images)
    (tmp_path / 'weights').touch()
    Image.new('RGB', (8, 8)).save(tmp_path / 'photo.png')
    places = ('loading', config) if tool == 'benchmark' else (config,)
    common = (*places, *arguments, '--cfg-options')
    dead = fails_in_one_line(capsys, tool, *common, 'test_pipeline.1.scale=[16,16]')
    assert 'would change nothing' in dead and 'set val_dataloader.dataset.pipeline.1.scale, test_dataloader' in dead
    assert 'brackets do not match' in fails_in_one_line(capsys, tool, *common, 'model.neck.top_o=[1,2')
    assert 'lr=low is of the wrong kind' in fails_in_one_line(capsys, tool, *common, 'optim_wrapper.optimizer.lr=low')


@pytest.mark.parametrize(
    'tool, arguments',
    [
        ('infer', ('weights', 'photo.png')),
        ('analysis/crop_curve', ('weights',)),
        ('analysis/selection_quality', ()),
        ('retrieval/benchmark_encoding', ('weights', 'photo.png')),
        ('retrieval/build', ()),
    ],
)
def test_a_device_that_is_not_there(tool, arguments, tmp_path, capsys):
    (tmp_path / 'empty.py').touch()
    (tmp_path / 'weights').touch()
    Image.new('RGB', (8, 8)).save(tmp_path / 'photo.png')
    first = ('photo.png', 'empty.py') if tool == 'retrieval/build' else ('empty.py',)
    rest = ('weights', '--out', 'gallery') if tool == 'retrieval/build' else arguments
    line = fails_in_one_line(capsys, tool, *first, *rest, '--device', 'cuda:99')
    assert 'device cuda:99 is not there: this machine has cpu' in line


def test_dicts_on_the_command_line(trained, tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_dicts.py', tiny_images)
    out = tmp_path / 'metrics.json'
    options = ["model.test_cfg=dict(crop='off')", f"test_dataloader.dataset={{'data_root': {str(tiny_images)!r}}}"]
    arguments = ['--out', out, '--out-item', 'metrics', '--work-dir', tmp_path / 'my work']
    call_tool('test', config, trained / 'epoch_2.pth', *arguments, '--cfg-options', *options)
    assert "test_cfg=dict(crop='off')" in read_log(tmp_path / 'my work')
    assert 0 <= mmengine.load(out)['accuracy/top1'] <= 100
