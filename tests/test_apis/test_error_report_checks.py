"""What makes an error report impossible is told before the test; what it shows is what the test found."""

from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_run import PER_CLASS, read_log, write_config, write_images

from glsim_mm.apis import build_runner, load_config, run_testing, set_test_options
from glsim_mm.apis.confusion_report import add_confusion_pairs, write_error_report
from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import ConfusionPairs


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    path = write_config(tmp_path / f'{tmp_path.name}.py', write_images(tmp_path / 'images'))
    return load_config(path, dict(work_dir=str(tmp_path / 'work'), load_from=None))


def refusal(cfg: Config, path: Path) -> str:
    with pytest.raises(GLSimError) as error:
        run_testing(cfg, error_report=str(path))
    assert 'Epoch(test)' not in read_log(Path(cfg.work_dir))  # nothing was tested
    assert not path.is_file()
    return str(error.value)


def test_target_is_a_folder(cfg, tmp_path):
    assert 'cannot be written (it is a folder)' in refusal(cfg, tmp_path)


def test_metrics_of_several_labels(cfg, tmp_path):
    cfg.test_evaluator = [dict(type='AveragePrecision')]
    assert 'needs one label per image' in refusal(cfg, tmp_path / 'errors.html')


def test_several_test_sets(cfg, tmp_path):
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.test_dataloader.dataset] * 2)
    message = refusal(cfg, tmp_path / 'errors.html')
    assert 'needs a single test set, not a ConcatDataset' in message


def test_mirrored_views(cfg, tmp_path):
    set_test_options(cfg, None, tta=True)
    assert 'leave out test-time augmentation' in refusal(cfg, tmp_path / 'errors.html')


def test_pipeline_without_positions(cfg, tmp_path):
    cfg.test_dataloader.dataset.pipeline[-1].meta_keys = ('img_path',)
    assert "needs 'sample_idx' in meta_keys" in refusal(cfg, tmp_path / 'errors.html')


def test_pairs_are_counted_where_images_have_one_label(cfg):
    evaluator = build_runner(cfg).test_evaluator
    added = add_confusion_pairs(evaluator)
    assert isinstance(added, ConfusionPairs) and evaluator.metrics[-1] is added
    assert add_confusion_pairs(evaluator) is added  # once only
    assert len(evaluator.metrics) == 2


def test_several_labels_can_be_tested_without_pairs(cfg):
    cfg.test_evaluator = [dict(type='AveragePrecision')]
    evaluator = build_runner(cfg).test_evaluator
    assert add_confusion_pairs(evaluator) is None
    assert len(evaluator.metrics) == 1


def test_class_and_score_are_those_of_the_test(cfg, tmp_path):
    """Pictures come from another pass, image by image and without mixed precision, which may end otherwise."""
    runner = build_runner(cfg)
    confusions = add_confusion_pairs(runner.test_evaluator)
    metrics = runner.test()
    confusions.images = [image._replace(prediction=1 - image.label, score=0.123) for image in confusions.images]
    html = write_error_report(runner, confusions, tmp_path / 'errors.html', metrics).read_text()
    assert html.count('<h3>✗ striped, 12 %; is: plain</h3>') == PER_CLASS
    assert html.count('<h3>✗ plain, 12 %; is: striped</h3>') == PER_CLASS
