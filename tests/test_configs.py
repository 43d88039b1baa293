"""Every file under configs/: it loads, fits its data set, says what the paper says; every kind of model trains."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from mmpretrain.structures import DataSample
from published_layouts import WRITERS as SETS
from timm.scheduler import CosineLRScheduler

from glsim_mm.apis import build_runner
from glsim_mm.apis.exported_steps import find_image_size, translate_steps
from glsim_mm.apis.photo_pipeline import find_test_steps
from glsim_mm.apis.pipeline_scale import find_scale

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT / 'configs').as_posix() for path in (ROOT / 'configs').rglob('*.py'))
FILES = [name for name in FILES if not name.startswith('downstream/mm')]  # tests/downstream/ has them
BASES = [name for name in FILES if '_base_/' in name]
# tests/test_retrieval_configs.py has those that are for image search alone.
CONFIGS = [name for name in FILES if name not in BASES and not name.startswith('retrieval/') and '_cub25_' not in name]
TWINS = [(name, name.replace('glsim_', '')) for name in CONFIGS if name.replace('glsim_', '') in CONFIGS]
TWINS = [(glsim, plain) for glsim, plain in TWINS if glsim != plain]
CLASSES = [f'00{i}.class_{i}' for i in range(5)]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def image(tmp_path) -> Path:
    """A file with a red image of 90 x 70 px."""
    path = tmp_path / 'red.png'
    cv2.imwrite(str(path), np.full((70, 90, 3), (0, 0, 255), np.uint8))
    return path


@cache
def read(name: str) -> Config:
    return Config.fromfile(ROOT / 'configs' / name)


def load(name: str) -> Config:
    """The config in a file, for the test to change."""
    return deepcopy(read(name))


@cache
def body_of(name: str) -> str:
    """What decides which code a config runs: all but its data set and its numbers."""
    config = read(name)
    sections = ('model', 'data_preprocessor', 'train_dataloader', 'test_dataloader', 'optim_wrapper', 'param_scheduler')
    sections += ('train_cfg', 'default_hooks', 'custom_hooks')
    return json.dumps([_without_numbers(config[section]) for section in sections])


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        if 'pipeline' in value:
            return _without_numbers(value['pipeline'])
        return {key: _without_numbers(value[key]) for key in sorted(value) if key not in ('num_classes', 'checkpoint')}
    if isinstance(value, (list, tuple)):
        return [_without_numbers(item) for item in value]
    return 0 if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def has_a_new_body(name: str) -> bool:
    """Whether no config before has the same body: then it is trained."""
    return all(body_of(name) != body_of(other) for other in CONFIGS[: CONFIGS.index(name)])


def layout_of(name: str) -> str:
    """The data set whose files a config reads; those of CUB's layout, tables and folders lie in one place."""
    return next((part for part in Path(name).stem.split('_') if part in SETS), 'cub')


def shrink(model: ConfigDict) -> ConfigDict:
    """The same model with two narrow layers and random weights."""
    backbone = model['backbone']
    if backbone['type'] == 'TimmViT':
        backbone.update(pretrained=False, embed_dim=32, depth=2, num_heads=1)
        backbone.frozen_stages = min(backbone.get('frozen_stages', -1), 1)
    elif backbone['type'] == 'ResNet':
        backbone.update(depth=18, stem_channels=8, base_channels=4, init_cfg=None)
        model['neck'].update(in_channels=32, num_attentions=4)
        model['head']['in_channels'] = 4 * 32
        return model
    else:
        backbone['arch'] = dict(embed_dims=32, num_layers=2, num_heads=1, feedforward_channels=64)
        backbone['init_cfg'] = None
    model['head']['in_channels'] = 32
    if model.get('neck', {}).get('type') == 'PIMSelector':
        model['neck'].update(in_channels=32, num_classes=len(CLASSES))
    return model


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Five classes of noise, a photo to train and one to test each: in CUB's layout, as train/ and val/, in a table."""
    folder, generator = tmp_path_factory.mktemp('data'), np.random.default_rng(0)
    images, labels, splits, rows = [], [], [], ['path,label,split']
    for label, name in enumerate(CLASSES):
        for i, split in enumerate(('train', 'val')):
            images.append(f'{name}/{i}.jpg')
            labels.append(label + 1)
            splits.append(int(split == 'train'))
            pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            rows.append(f'{split}/{name}/{i}.jpg,{name},{split}')
            for path in (folder / 'images' / name / f'{i}.jpg', folder / split / name / f'{i}.jpg'):
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels)
    contents = dict(images=images, image_class_labels=labels, train_test_split=splits, classes=CLASSES)
    (folder / 'products.csv').write_text('\n'.join(rows))
    contents['bounding_boxes'] = ['1 1 20 20'] * len(images)
    for name, lines in contents.items():
        (folder / f'{name}.txt').write_text(''.join(f'{i} {line}\n' for i, line in enumerate(lines, 1)))
    return folder


@pytest.fixture(scope='module')
def folders(data, tmp_path_factory) -> dict[str, Path]:
    """Every data set in its own layout."""
    return {'cub': data, **{name: write(tmp_path_factory.mktemp(name)) for name, write in SETS.items()}}


def find_data(config: Config, folder: Path) -> int:
    """Point a config to a folder; returns its number of classes."""
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        loader.update(num_workers=0, batch_size=3, persistent_workers=False)
        loader.dataset.data_root = str(folder)
    return len(DATASETS.build(dict(config.train_dataloader.dataset, pipeline=[], serialize_data=False)).CLASSES)


def set_num_classes(config: Config, num_classes: int) -> None:
    config.model.head.num_classes = num_classes
    if 'num_classes' in config.data_preprocessor:
        config.data_preprocessor.num_classes = num_classes
    for evaluator in (config.val_evaluator, config.test_evaluator):
        evaluator[0].topk = tuple(k for k in evaluator[0].topk if k <= num_classes)


def test_there_are_configs_and_twins():
    assert 'glsim_vit_cub.py' in CONFIGS
    assert ('glsim_dinov2s_cub.py', 'dinov2s_cub.py') in TWINS


def test_what_is_trained():
    """Data sets and image sizes share a body; a model, an augmentation or an optimizer of its own makes another."""
    trained = [name for name in CONFIGS if has_a_new_body(name)]
    assert sum(layout_of(name) != 'cub' for name in trained) < 6
    models = {json.dumps(_without_numbers(read(name).model)) for name in CONFIGS}
    assert models == {json.dumps(_without_numbers(read(name).model)) for name in trained}
    assert body_of('glsim_vit_cub.py') == body_of('glsim_vit_nabirds_448.py') != body_of('vit_cub.py')


@pytest.mark.parametrize('name', BASES)
def test_base_loads_on_its_own(name):
    assert load(name)


def test_every_test_pipeline_can_be_exported():
    for name in FILES:
        config = read(name)
        if name not in BASES and config.get('test_dataloader'):
            height, width = find_image_size(translate_steps(find_test_steps(config)))
            model = config.model.get('image_encoder', config.model)
            scale = find_scale(config)
            assert height == width == scale * model.backbone.get('img_size', width / scale), name


@pytest.mark.parametrize('name', CONFIGS)
def test_config_fits_its_data_set(name, folders):
    """Its pipelines make images of the encoder's size, the head fits the encoder, its metrics measure its classes."""
    config = load(name)
    num_classes = find_data(config, folders[layout_of(name)])
    backbone = config.model.backbone
    for loader in (config.train_dataloader, config.test_dataloader):
        dataset = DATASETS.build(loader.dataset)
        sample = dataset[0]
        size = backbone.get('img_size', sample['inputs'].shape[-1])  # a ResNet has no size of its own
        assert sample['inputs'].shape == (3, size, size)
        assert sample['data_samples'].gt_label in range(num_classes)

    backbone.pop('init_cfg', None)
    if 'pretrained' in backbone:
        backbone.pretrained = False
    with torch.device('cpu' if backbone.type == 'ResNet' else 'meta'):  # in full size, without its memory
        model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    if config.model.type == 'GLSimClassifier':
        assert model.head.in_channels == model.backbone.embed_dims
    assert config.data_preprocessor.get('num_classes', model.head.num_classes) == model.head.num_classes

    set_num_classes(config, num_classes)
    evaluator = Evaluator(config.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    scores = torch.eye(num_classes)
    samples = [DataSample().set_gt_label(i).set_pred_label(i).set_pred_score(scores[i]) for i in range(num_classes)]
    evaluator.process(samples)
    metrics = evaluator.evaluate(num_classes)
    assert metrics['accuracy/top1'] == metrics['class/mean_accuracy'] == 100
    assert ('ancestors' in dataset.metainfo) == any(key.startswith('hierarchy') for key in metrics)


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_every_kind_of_config_trains_tests_and_predicts(name, folders, tmp_path):
    """As it stands, but for a smaller encoder, tiny data and one epoch; configs like one before are not trained."""
    if not has_a_new_body(name):
        return
    config = load(name)
    num_classes = find_data(config, folders[layout_of(name)])
    shrink(config.model)
    set_num_classes(config, num_classes)
    config.work_dir = str(tmp_path)
    config.train_cfg.update(max_epochs=1, val_interval=1)

    runner = build_runner(config)
    runner.train()

    assert runner.epoch == 1
    assert np.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = runner.test()
    # The classes are equally large.
    assert metrics['accuracy/top1'] == pytest.approx(metrics['class/mean_accuracy'])
    sample = runner.model.test_step(next(iter(runner.test_dataloader)))[0]
    assert sample.pred_score.shape == (num_classes,)
    assert ('selected_box' in sample) == (config.model.type in ('GLSimClassifier', 'CALClassifier'))


@pytest.mark.parametrize('name', SETS)
def test_settings_of_the_paper_for_each_set(name):
    small, large, plain = (
        load(f'{config}.py') for config in (f'glsim_vit_{name}', f'glsim_vit_{name}_448', f'vit_{name}')
    )
    cub = load('glsim_vit_cub.py')
    assert small.model.neck.pop('top_o') == large.model.neck.pop('top_o') == (16 if name == 'dogs' else 8)
    assert small.optim_wrapper == cub.optim_wrapper
    assert (small.model.backbone.img_size, large.model.backbone.pop('img_size')) == (224, 448)
    num_classes = small.model.head.num_classes
    assert num_classes == plain.model.head.num_classes == large.model.head.num_classes
    kind = DATASETS.get(small.train_dataloader.dataset.type)
    published = {'StanfordCarsFormat': 196, 'Food101Format': 101, 'FGVCAircraftFormat': 100, 'OxfordPetsFormat': 37}
    assert num_classes == published.get(kind.__name__, num_classes)
    splits = small.train_dataloader.dataset.split, small.test_dataloader.dataset.split
    assert splits[0] == ('trainval' if 'trainval' in kind.SIZES else 'train')
    assert splits[1] == ('test' if 'test' in kind.SIZES else 'val')
    ratio = 8 / 7 if name == 'cars' else 1.34
    for config, size in ((small, 224), (large, 448)):
        for loader in (config.train_dataloader, config.test_dataloader):
            assert loader.dataset.pipeline[1].scale == int(ratio * size)


@pytest.mark.parametrize('name', [*SETS, 'cub'])
def test_augmentations_change_what_they_say(name):
    medium, weak, strong = (
        load(path)
        for path in (
            f'glsim_vit_{name}.py',
            f'augmentation/glsim_vit_{name}_weak.py',
            f'augmentation/glsim_vit_{name}_strong.py',
        )
    )
    steps = {
        config: [step.type for step in config.train_dataloader.dataset.pipeline] for config in (medium, weak, strong)
    }
    assert steps[weak] == ['LoadImage', 'Resize', 'RandomCrop', 'RandomFlip', 'PackInputs']
    assert 'torchvision/TrivialAugmentWide' in steps[medium] and 'RandAugment' in steps[strong]
    assert weak.train_dataloader.dataset.pipeline[1].scale == medium.train_dataloader.dataset.pipeline[1].scale
    assert weak.model.backbone.branch_drop_rate == 0.1 and weak.model.head.loss.label_smooth_val == 0.0
    assert [augment.type for augment in strong.model.train_cfg.augments] == ['Mixup', 'CutMix']
    assert strong.data_preprocessor.num_classes == strong.model.head.num_classes
    for config in (weak, strong):
        assert config.test_dataloader == medium.test_dataloader
        assert config.model.neck == medium.model.neck


@pytest.mark.parametrize('name', ['cub', 'cars', 'aircraft', 'nabirds', 'inat17'])
def test_class_disjoint_halves(name, folders):
    config = load(f'_base_/datasets/class_disjoint/{name}.py')
    halves = []
    for loader in (config.train_dataloader, config.test_dataloader):
        for part in loader.dataset.datasets:
            part.data_root = str(folders[name])
        halves.append(DATASETS.build(loader.dataset))
    train, test = halves
    assert not set(train.CLASSES) & set(test.CLASSES)
    assert {*train.get_gt_labels()} == {*range(len(train.CLASSES))}
    assert {*test.get_gt_labels()} == {*range(len(test.CLASSES))}
    splits = [DATASETS.build(dict(part, serialize_data=False)) for part in config.train_dataloader.dataset.datasets]
    assert len(train) + len(test) == sum(len(split) for split in splits)


@pytest.mark.parametrize('glsim, plain', TWINS)
def test_plain_twin_differs_in_the_model_only(glsim, plain):
    glsim, plain = load(glsim), load(plain)
    twin_backbone = dict(plain.model.backbone)
    assert twin_backbone.pop('out_type') == 'cls_token'
    assert twin_backbone == glsim.model.backbone
    assert plain.model.head.loss == glsim.model.head.loss
    assert plain.model.head.num_classes == glsim.model.head.num_classes
    for key in set(glsim) | set(plain):
        if key not in ('model', 'linear_head', 'work_dir'):
            assert glsim.get(key) == plain.get(key), key


def test_larger_images_are_the_only_change_at_448_px():
    small, large = load('glsim_vit_cub.py'), load('glsim_vit_cub_448.py')
    for config, size in ((small, 224), (large, 448)):
        resize, crop = config.train_dataloader.dataset.pipeline[1:3]
        assert (resize.pop('scale'), crop.pop('crop_size')) == (int(1.34 * size), size)
        resize, crop = config.test_dataloader.dataset.pipeline[1:3]
        assert (resize.pop('scale'), crop.pop('crop_size')) == (int(1.34 * size), size)
        assert config.model.backbone.pop('img_size') == size
    for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'test_dataloader'):
        assert small[key] == large[key], key


def test_official_settings_are_config_fields():
    config = load('glsim_vit_cub.py')
    assert config.model.neck == dict(
        type='GLSimSelector', similarity='cos', top_o=8, box_end='exclusive', crop_size=None
    )
    assert config.optim_wrapper.optimizer == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0)
    assert config.optim_wrapper.clip_grad == dict(max_norm=1.0)
    assert config.train_dataloader.batch_size == 8
    assert config.train_cfg.max_epochs == 50
    assert config.model.backbone.norm_cfg.eps == config.model.head.norm_cfg.eps == 1e-12


def test_learning_rate_follows_the_authors_scheduler():
    """The authors use timm's cosine schedule, stepped every iteration; 5994 training images of CUB, batches of 8."""
    epochs, epoch_length = 50, 750
    config = load('glsim_vit_cub.py')
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.optim_wrapper.optimizer.lr)
    reference_optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    schedulers = []
    for scheduler in config.param_scheduler:
        scheduler_type = PARAM_SCHEDULERS.get(scheduler['type'])
        if scheduler.pop('convert_to_iter_based', False):
            arguments = {key: value for key, value in scheduler.items() if key != 'type'}
            schedulers.append(
                scheduler_type.build_iter_from_epoch(optimizer=optimizer, epoch_length=epoch_length, **arguments)
            )
        else:
            schedulers.append(PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer)))
    reference = CosineLRScheduler(
        reference_optimizer,
        t_initial=epochs * epoch_length,
        lr_min=1e-5,
        warmup_lr_init=1e-6,
        warmup_t=500,
        cycle_limit=1,
        t_in_epochs=False,
    )
    for iteration in range(epochs * epoch_length):
        reference.step_update(iteration)
        expected = reference_optimizer.param_groups[0]['lr']
        if iteration % 50 == 0 or iteration < 10:
            assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, rel=0.01, abs=1e-6), iteration
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def test_trivial_augment_sees_rgb_and_the_network_gets_bgr(image):
    """TrivialAugment's colour operations weigh channels, and the preprocessor expects BGR behind them."""
    pipeline = load('glsim_vit_cub.py').train_dataloader.dataset.pipeline
    augment = next(i for i, step in enumerate(pipeline) if step['type'] == 'torchvision/TrivialAugmentWide')
    before = Compose([TRANSFORMS.build(step) for step in pipeline[:augment]])(dict(img_path=str(image), gt_label=1))
    assert before['img'].mode == 'RGB'
    assert before['img'].getpixel((100, 100)) == (255, 0, 0)
    pipeline[augment + 2].erase_prob = 0.0
    after = Compose([TRANSFORMS.build(step) for step in pipeline[augment + 1 :]])(before)
    assert after['inputs'][:, 100, 100].tolist() == [0, 0, 255]


def test_erased_pixels_are_zero_after_normalisation(image):
    """As in the authors' pipeline, where erasing comes after normalisation; to half a grey level, 0.01."""
    config = load('glsim_vit_cub.py')
    erasing = next(step for step in config.train_dataloader.dataset.pipeline if step['type'] == 'RandomErasing')
    color = torch.tensor(erasing.fill_color, dtype=torch.uint8)[:, None, None].expand(3, 8, 8)
    preprocessor = MODELS.build(config.data_preprocessor)
    normalised = preprocessor(dict(inputs=[color]))['inputs']
    assert normalised.abs().max() < 0.01


def test_custom_folder_needs_two_lines(tmp_path, image):
    """A user's copy of the file with another folder and another number of classes is a complete config."""
    text = (ROOT / 'configs' / 'glsim_vit_custom.py').read_text()
    changed = text.replace("'data/custom'", "'/my/birds'").replace('num_classes = 10', 'num_classes = 3')
    changed = changed.replace("'_base_/", f"'{ROOT}/configs/_base_/")
    assert sum(a != b for a, b in zip(text.splitlines(), changed.splitlines()) if '_base_/' not in a) == 2
    (tmp_path / 'mine.py').write_text(changed)
    config = Config.fromfile(tmp_path / 'mine.py')
    assert config.model.head.num_classes == 3
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == '/my/birds'
