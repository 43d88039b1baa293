"""CONTRIBUTING.md says where common changes go: the places exist, and a change that is made there works everywhere."""

import re
import sys

import numpy as np
import pytest
from mmengine import Config
from mmpretrain.registry import DATASETS, MODELS
from tiny_run import call_tool, load_tool, write_images

from glsim_mm import command, selectors
from glsim_mm.models import RegionSelector
from retrieval import metrics
from retrieval.evaluation import evaluate_embeddings, format_report
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.index import PRESETS, Preset


def read_rows(root) -> dict[str, list[str]]:
    """Files of each common change by its name."""
    text = (root / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    table = text.split('## Where a change goes')[1].split('\n## ')[0]
    rows = [line.strip('| ').split(' | ') for line in table.splitlines() if line.startswith('| ')][1:]
    return {name: re.findall(r'`([\w./]+)`', files) for name, files in rows if not set(name) <= {'-', ' '}}


def test_common_changes_touch_at_most_four_places_that_exist(root):
    rows = read_rows(root)
    assert {
        'data set',
        'selector',
        'embedding space',
        'retrieval metric',
        'index preset',
        'endpoint',
        'page of the server',
        'command',
    } == set(rows)
    for change, files in rows.items():
        assert 2 <= len(files) <= 4, change
        for file in files:
            example = root / file.replace('glsim_vit_NAME', 'glsim_vit_pets').replace('NAME', 'pets')
            assert example.exists() or file == 'tools/NAME.py', (change, file)


def test_a_metric_is_one_row(monkeypatch):
    def first_miss(relevant, num_relevant):
        return np.where(num_relevant > 0, (~relevant).argmax(axis=1) / relevant.shape[1], np.nan)

    row = metrics.RankingMetric(first_miss, lambda num_relevant, size: num_relevant)
    monkeypatch.setitem(metrics.METRICS, 'First miss', row)

    report = evaluate_embeddings(np.eye(6, dtype=np.float32) + 0.1, np.arange(6) // 2)

    assert 0 <= report.metrics['First miss'] <= 1
    assert 'First miss' in format_report(report)


def test_a_preset_is_one_row(monkeypatch, tmp_path):
    def factory(rows, dimension):
        return 'IVF4,Flat' if rows >= 160 else 'Flat'

    preset = Preset('four-lists', factory, lambda rows, dimension: 4 * rows * dimension, 0, True, '')
    monkeypatch.setitem(PRESETS, 'four-lists', preset)
    vectors = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)

    with create_gallery(tmp_path / 'gallery', 8, preset='four-lists') as gallery:
        ids = gallery.add(vectors, [Record(path=f'{i}.jpg') for i in range(200)])
        gallery.compact()
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert gallery.manifest.preset == 'four-lists'
        assert (gallery.search(vectors, 1).ids[:, 0] == ids).all()


def test_a_selector_is_a_class_and_a_row(monkeypatch):
    @MODELS.register_module(force=True)
    class LongestTokenSelector(RegionSelector):
        """Selects the patch tokens of largest norm."""

        def score_patches(self, inputs):
            return inputs.tokens[:, inputs.layout.num_extra_tokens :].float().norm(dim=-1)

    monkeypatch.setitem(selectors.SELECTORS, 'norm', selectors.Selector('LongestTokenSelector', 'tokens'))

    selectors.check_selectors(['norm'])
    selector = MODELS.build(dict(selectors.SELECTORS['norm'].config, top_o=2))
    assert isinstance(selector, LongestTokenSelector)
    assert load_tool('look').parse_args(['c.py', 'w.pth', '--selectors', 'norm']).selectors == ['norm']


def test_a_command_is_a_script_and_a_row(monkeypatch, tmp_path, capsys):
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'greet.py').write_text(
        '"""Greet somebody: glsim greet NAME."""\nimport sys\nprint("hello", sys.argv)\n'
    )
    monkeypatch.setattr(command, 'find_shipped_folder', lambda: tmp_path)
    monkeypatch.setattr(command, 'COMMANDS', {'manners': {'greet': 'greet.py'}})
    assert '\nmanners:\n  greet               Greet somebody\n' in command.describe_commands()

    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__'])
    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.setattr(sys, 'argv', ['glsim', 'greet', 'Ada'])
    command.main()
    assert capsys.readouterr().out == "hello ['glsim greet', 'Ada']\n"


@pytest.fixture
def mugs(root, tmp_path):
    """A data set with a base config and a config, as docs/reference/datasets/README.md tells."""
    images = write_images(tmp_path / 'data')
    rows = [f'{path.relative_to(images)},{path.parent.name},{path.parts[-3]}' for path in images.rglob('*.png')]
    (images / 'mugs.csv').write_text('\n'.join(['path,label,split', *rows]))
    of_split = "dict(type='TableDataset', data_root='{}', ann_file='mugs.csv', split='{}')"
    base = [f"_base_ = '{root}/configs/_base_/datasets/cub.py'"]
    for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = of_split.format(images, split).replace('dict(', 'dict(_delete_=True, ', 1)
        base.append(f'{loader}_dataloader = dict(dataset={dataset})')
    (tmp_path / 'mugs_base.py').write_text('\n'.join(base))
    config = tmp_path / 'glsim_vit_mugs.py'
    config.write_text(
        f"""
_base_ = [
    '{root}/configs/_base_/models/glsim_vit_base_p16.py', 'mugs_base.py',
    '{root}/configs/_base_/datasets/pipelines/medium_224.py', '{root}/configs/_base_/schedules/sgd_50e.py',
    '{root}/configs/_base_/default_runtime.py']
model = dict(head=dict(num_classes=2))
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
"""
    )
    return config


def test_a_data_set_is_two_files(mugs, capsys):
    config = Config.fromfile(mugs)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert dataset.CLASSES == ('plain', 'striped')
    assert dataset[0]['inputs'].shape == (3, 224, 224)

    call_tool('datasets/stats', mugs)
    assert 'striped' in capsys.readouterr().out
