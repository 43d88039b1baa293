"""RetrievalMetrics in loops: embeddings are left on results where they are measured, and nowhere else."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import DumpResults
from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall
from PIL import Image
from tiny_run import call_tool, write_config, write_images

from glsim_mm.apis import build_runner, load_config, run_testing, run_training
from glsim_mm.engine.hooks import KeepEmbeddingsHook
from glsim_mm.engine.hooks.run_checks import check_top_k, judges_classes
from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import ClassDeviation, RetrievalMetrics
from retrieval.evaluation import evaluate_embeddings

EVALUATOR = "\nval_evaluator = dict(type='RetrievalMetrics', ks=(1, 2))\ntest_evaluator = val_evaluator\n"
PLAIN = """
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer', img_size=32, patch_size=8,
        arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=32))
"""


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Training images of two classes; validation images of these two and of one that training does not know."""
    folder = write_images(tmp_path_factory.mktemp('unseen') / 'images')
    rng = np.random.default_rng(1)
    (folder / 'val' / 'spotted').mkdir()
    for index in range(3):
        pixels = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8)
        pixels[::3, ::3] += 150
        Image.fromarray(pixels).save(folder / 'val' / 'spotted' / f'{index}.png')
    return folder


def config_of(tmp_path, images, name, extra=''):
    cfg = load_config(write_config(tmp_path / f'{name}.py', images, extra))
    cfg.work_dir = str(tmp_path / name)
    cfg.train_cfg.max_epochs = 1
    return cfg


def embed(model, dataset):
    """Embeddings and labels of a data set, by the model's own ``extract_feat``."""
    model.eval()
    batch = pseudo_collate([dataset[index] for index in range(len(dataset))])
    inputs = model.data_preprocessor(batch)['inputs']
    with torch.no_grad():
        return model.extract_feat(inputs, stage='pre_logits').numpy(), dataset.get_gt_labels()


def test_validation_on_unseen_classes(images, tmp_path):
    runner = run_training(config_of(tmp_path, images, 'keep_unseen', EVALUATOR))
    dataset = runner.val_dataloader.dataset
    assert len(dataset.metainfo['classes']) == 3 and runner.model.head.num_classes == 2
    expected = evaluate_embeddings(*embed(runner.model, dataset), ks=(1, 2)).metrics
    reported = runner.message_hub.log_scalars
    for name, value in expected.items():
        assert reported[f'val/retrieval/{name}'].current() == pytest.approx(100 * value, abs=1e-3), name
    # save_best='auto' takes MAP@R
    assert [path.name for path in (tmp_path / 'keep_unseen').glob('best_*')] == ['best_retrieval_MAP@R_epoch_1.pth']
    # and the model is left as it was
    assert not runner.model._forward_hooks and not runner.model.head._forward_pre_hooks
    batch = pseudo_collate([runner.val_dataloader.dataset[0]])
    assert all('embedding' not in sample for sample in runner.model.val_step(batch))


def test_plain_classifiers_and_mirrored_views(images, tmp_path):
    config = write_config(tmp_path / 'keep_plain.py', images, PLAIN + EVALUATOR)
    cfg = config_of(tmp_path, images, 'keep_plain', PLAIN + EVALUATOR)
    run_training(cfg)
    out = tmp_path / 'metrics.json'
    call_tool(
        'test',
        config,
        tmp_path / 'keep_plain' / 'epoch_1.pth',
        '--tta',
        '--work-dir',
        tmp_path / 'test',
        '--out',
        out,
        '--out-item',
        'metrics',
    )
    assert 0 <= json.loads(out.read_text())['retrieval/MAP@R'] <= 100


def test_without_the_metric_results_have_no_embedding(images, tmp_path):
    runner = build_runner(config_of(tmp_path, images, 'keep_none'))
    KeepEmbeddingsHook().before_val(runner)
    assert not runner.model._forward_hooks and not runner.model.head._forward_pre_hooks


def test_classes_of_the_head_still_matter_to_other_metrics(images, tmp_path):
    both = "\nval_evaluator = [dict(type='RetrievalMetrics'), dict(type='ClassDeviation')]\n"
    with pytest.raises(GLSimError, match="photos of the class 'spotted', which the train split"):
        run_training(config_of(tmp_path, images, 'keep_both', both))


def test_which_metrics_judge_classes(tmp_path):
    dump = DumpResults(out_file_path=str(tmp_path / 'results.pkl'))
    assert judges_classes([]) and judges_classes([dump]) and judges_classes([RetrievalMetrics(), ClassDeviation()])
    assert not judges_classes([RetrievalMetrics()]) and not judges_classes([RetrievalMetrics(), dump])
    of_mmpretrain = [RetrievalRecall(topk=(1, 8)), RetrievalAveragePrecision(topk=100)]
    assert not judges_classes(of_mmpretrain)
    check_top_k([*of_mmpretrain, RetrievalMetrics(ks=(8,))], 2, 'val_evaluator')  # of images, not of classes


def test_without_the_hook_the_error_names_it(images, tmp_path):
    cfg = config_of(tmp_path, images, 'keep_missing', EVALUATOR + '\ncustom_hooks = []\n')
    with pytest.raises(GLSimError, match=r"add dict\(type='KeepEmbeddingsHook'\) to custom_hooks"):
        run_training(cfg)


def test_models_without_an_embedding(images, tmp_path):
    headless = PLAIN.replace('head=dict(', 'unused=dict(') + "del model['unused']\n"
    with pytest.raises(GLSimError, match='has no head'):
        run_testing(config_of(tmp_path, images, 'keep_headless', headless + EVALUATOR))
    runner = build_runner(config_of(tmp_path, images, 'keep_identity', PLAIN + EVALUATOR))
    runner.model.head = torch.nn.Identity()
    with pytest.raises(GLSimError, match='gives no embeddings'):
        KeepEmbeddingsHook().before_val(runner)
