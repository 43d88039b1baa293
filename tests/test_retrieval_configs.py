"""Every file under configs/retrieval/ trains an embedding and measures the search with it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from fresh_processes import run_ranks
from mmengine import Config
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageToImageRetriever
from mmpretrain.registry import DATASETS
from PIL import Image
from published_layouts import write_image, write_inaturalist2017, write_inshop, write_lines, write_stanford_cars

from glsim_mm.apis import build_runner
from glsim_mm.models import FaissRetriever

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'retrieval'
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))
CLASSES = [f'00{i}.class_{i}' for i in range(4)]


def write_cub(folder: Path) -> Path:
    """Four birds with two photos each."""
    photos = [f'{name}/{i}.jpg' for name in CLASSES for i in range(2)]
    for photo in photos:
        write_image(folder / 'images' / photo)
    contents = dict(images=photos, classes=CLASSES, train_test_split=[i % 2 for i in range(8)])
    contents.update(image_class_labels=[1 + i // 2 for i in range(8)], bounding_boxes=['1 1 20 20'] * 8)
    for name, rows in contents.items():
        write_lines(folder / f'{name}.txt', [f'{i} {row}' for i, row in enumerate(rows, start=1)])
    return folder


def write_folders(folder: Path) -> Path:
    """Four classes with two photos to train, two others with two to search."""
    for split, names in (('train', CLASSES), ('val', ('a', 'b'))):
        for name in names:
            for i in range(2):
                write_image(folder / split / name / f'{i}.jpg')
    return folder


LAYOUTS = {
    'cub': write_cub,
    'cars': write_stanford_cars,
    'inat': lambda folder: write_inaturalist2017(folder, 'Anas platyrhynchos'),  # two classes in each half
    'inshop': write_inshop,
    'custom': write_folders,
}


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def load_tiny(name: str, folder: Path, work_dir: Path) -> Config:
    """A config with a narrow encoder, on tiny data in the layout of its set, for an epoch."""
    config = Config.fromfile(FOLDER / name)
    config.work_dir = str(work_dir)
    config.train_cfg.max_epochs = 1
    config.param_scheduler = None
    encoder = config.model.get('image_encoder', config.model)
    encoder.backbone.update(init_cfg=None)
    encoder.backbone.arch = dict(embed_dims=32, num_layers=1, num_heads=1, feedforward_channels=64)
    encoder.head.update(in_channels=32, embedding_dims=16)
    loaders = [config.train_dataloader, config.val_dataloader, config.test_dataloader]
    loaders += [config.model.prototype] if 'prototype' in config.model else []
    for loader in loaders:
        loader.update(num_workers=0, batch_size=3, persistent_workers=False)
        for part in loader.dataset.get('datasets', [loader.dataset]):
            part.data_root = str(folder)
    images_per_class = config.train_dataloader.get('batch_sampler', {}).get('images_per_class', 2)
    config.train_dataloader.batch_size = images_per_class
    dataset = DATASETS.build(dict(config.train_dataloader.dataset, pipeline=[], serialize_data=False))
    if 'num_classes' in encoder.head:
        encoder.head.num_classes = len(set(dataset.get_gt_labels()))
    return config


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> dict[str, Path]:
    """Every data set in its own layout, no two photos alike."""
    written = {name: write(tmp_path_factory.mktemp(name)) for name, write in LAYOUTS.items()}
    generator = np.random.default_rng(0)
    for path in sorted(path for folder in written.values() for path in folder.rglob('*.jpg')):
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return written


@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_and_searches(name, folders, tmp_path):
    config = load_tiny(name, folders[name.removesuffix('.py').split('_')[-1]], tmp_path)
    runner = build_runner(config)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    assert runner.epoch == 1 and np.isfinite(runner.message_hub.get_scalar('train/loss').current())
    after = runner.model.state_dict()
    learnt = [key for key in after if not torch.equal(after[key], before[key])]
    assert any('loss_module' in key for key in learnt) == any('loss_module' in key for key in after)
    metrics = runner.test()
    (evaluator,) = config.test_evaluator
    assert {f'retrieval/Recall@{k}' for k in evaluator.ks} < metrics.keys()
    assert list(metrics)[0] == 'retrieval/MAP@R' and 0 <= metrics['retrieval/MAP@R'] <= 100
    if isinstance(runner.model, FaissRetriever):
        sample = runner.model.test_step(next(iter(runner.test_dataloader)))[0]
        assert sorted(sample.pred_label.tolist()) == [0, 1, 2, 3]
        assert sample.selected_box.shape == (4,)


def test_the_retriever_of_mmpretrain_finds_the_same(folders, tmp_path):
    """Its type and one line less in the config: it cannot take a classifier as encoder."""
    config = load_tiny('glsim_vit_arcface_inshop.py', folders['inshop'], tmp_path / 'a')
    config.model.image_encoder = [
        dict(type='VisionTransformer', arch=config.model.image_encoder.backbone.arch, img_size=224, patch_size=16)
    ]
    config.model.head = dict(type='ArcFaceClsHead', num_classes=2, in_channels=32)
    config.test_evaluator = [
        dict(type='RetrievalRecall', topk=(1, 2, 4)),
        dict(type='RetrievalAveragePrecision', topk=4),
        dict(type='RetrievalMetrics', mode='ranking', ks=(1,), prefix='ours'),
    ]
    config.custom_hooks = [hook for hook in config.custom_hooks if hook.type != 'NumClassesCheckHook']
    found = {}
    for kind in (FaissRetriever, ImageToImageRetriever):
        config.model.type = kind.__name__
        config.work_dir = str(tmp_path / kind.__name__)
        runner = build_runner(config)
        torch.manual_seed(0)
        runner.model.init_weights()
        found[kind] = runner.test()
    assert found[FaissRetriever] == found[ImageToImageRetriever]
    assert found[FaissRetriever]['retrieval/Recall@4'] == 100


def _run_rank(rank: int, folders: dict[str, Path], work_dir: Path) -> None:
    """One of two processes trains and tests each config."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    dist.init_process_group('gloo', init_method=f'file://{work_dir}/store', rank=rank, world_size=2)
    found = {}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for name, folder in folders.items():
            config = load_tiny(name, folder, work_dir / name)
            config.launcher = 'pytorch'
            runner = build_runner(config)
            runner.train()
            found[name] = runner.test()
    if rank == 0:
        (work_dir / 'metrics.json').write_text(json.dumps(found))
    dist.destroy_process_group()


def test_two_processes_train_and_find_what_one_finds(folders, tmp_path):
    """With a gallery of its own, and with pairs that the sampler makes."""
    data = {'glsim_vit_arcface_inshop.py': folders['inshop'], 'glsim_vit_supcon_custom.py': folders['custom']}
    run_ranks(_run_rank, data, tmp_path)
    found = json.loads((tmp_path / 'metrics.json').read_text())
    for name, folder in data.items():
        config = load_tiny(name, folder, tmp_path / 'single')
        config.load_from = str(tmp_path / name / 'epoch_1.pth')
        assert found[name] == pytest.approx(build_runner(config).test()), name


def test_recorded_run_on_unseen_classes(folders, tmp_path):
    """Trained as a classifier of the first half, without validation."""
    config = Config.fromfile(FOLDER.parent / 'experiments' / 'glsim_dinov2s_cub25_cpu.py')
    config.work_dir = str(tmp_path)
    config.train_cfg.max_epochs = 1
    config.param_scheduler = None
    config.model.backbone.update(embed_dim=32, depth=2, num_heads=1, frozen_stages=1)
    config.model.head.update(in_channels=32, num_classes=2)
    halves = []
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.update(num_workers=0, batch_size=4, persistent_workers=False)
        for part in loader.dataset.datasets:
            part.data_root = str(folders['cub'])
        halves.append(DATASETS.build(dict(loader.dataset, pipeline=[])).metainfo['classes'])
    assert not set(halves[0]) & set(halves[1])
    runner = build_runner(config)
    runner.train()
    assert np.isfinite(runner.message_hub.get_scalar('train/loss').current())


def test_every_loss_has_a_recipe():
    heads = [(Config.fromfile(FOLDER / name).model, name) for name in CONFIGS]
    losses = {model.get('image_encoder', model).head.loss.name for model, _ in heads}
    expected = ('ArcFaceLoss', 'SubCenterArcFaceLoss', 'SupConLoss', 'ProxyAnchorLoss', 'MultiSimilarityLoss')
    assert losses == set(expected)
    assert {name.removesuffix('.py').split('_')[-1] for _, name in heads} == LAYOUTS.keys()


@pytest.mark.parametrize('name', CONFIGS)
def test_batches_hold_pairs_where_the_loss_needs_them(name):
    config = Config.fromfile(FOLDER / name)
    sampler = config.train_dataloader.get('batch_sampler')
    loss = config.model.get('image_encoder', config.model).head.loss
    if loss.name in ('SupConLoss', 'MultiSimilarityLoss'):
        assert sampler.type == 'ClassBalancedBatchSampler'
    if sampler:
        assert config.train_dataloader.batch_size % sampler.images_per_class == 0


def test_proxies_learn_faster(folders, tmp_path):
    """The multiplier reaches them, under the name that they have in the model."""
    config = load_tiny('glsim_vit_proxy_anchor_cub.py', folders['cub'], tmp_path)
    runner = build_runner(config)
    groups = runner.build_optim_wrapper(runner.cfg.optim_wrapper).optimizer.param_groups
    rates = {id(group['params'][0]): group['lr'] for group in groups}
    head = runner.model.head
    assert rates[id(head.loss_module.loss.proxies)] == pytest.approx(1e-2)
    assert rates[id(head.projection.weight)] == pytest.approx(1e-4)
    assert rates[id(runner.model.backbone.cls_token)] == pytest.approx(1e-5)
