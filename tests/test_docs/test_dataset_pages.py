"""The pages of the data sets are what code and configs say, their links lead somewhere, their examples work."""

import importlib.util
import re
import shutil

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from published_layouts import write_image

from glsim_mm.datasets import text_list_sets
from glsim_mm.datasets.preparation.completing import prepare
from glsim_mm.datasets.published_sets import PUBLISHED_SETS

PAGES = 'docs/reference/datasets'


@pytest.fixture(scope='module')
def script(root):
    """docs/dataset_pages.py as a module."""
    spec = importlib.util.spec_from_file_location('dataset_pages', root / 'docs' / 'dataset_pages.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_what_code_and_configs_say(script):
    assert script.main(['--check']) == 0, 'run python docs/dataset_pages.py'


def test_stale_and_missing_pages_are_written(script, root, tmp_path, monkeypatch, capsys):
    shutil.copytree(root / PAGES, tmp_path / PAGES)
    monkeypatch.setattr(script, 'FOLDER', tmp_path / PAGES)
    monkeypatch.setattr(script, 'ROOT', tmp_path)
    (tmp_path / 'configs').symlink_to(root / 'configs')
    cub, cars = tmp_path / PAGES / 'cub.md', tmp_path / PAGES / 'cars.md'
    written = cub.read_text()
    cub.write_text(written.replace('5,994', '5,995'))
    cars.unlink()
    assert script.main(['--check']) == 1
    assert capsys.readouterr().out.count('is stale') == 2 and not cars.exists()
    assert script.main([]) == 0
    assert cub.read_text() == written
    assert cars.read_text().startswith('# Stanford Cars\n') and '| images | 16,185 |' in cars.read_text()
    assert script.main(['--check']) == 0


NEW_READER = """
@DATASETS.register_module(force=True)
class Mugs(FineGrainedDataset):
    \'\'\'Mugs, in a folder with::

        ├── shots/
        └── mugs.txt                   image, label
    \'\'\'

    SIZES = dict(train=1, test=1)

    def read_metainfo(self, data_root):
        return dict(classes=('blue mug', 'red mug'))

    def read_samples(self):
        rows = read_rows(self.path('mugs.txt'), str.split)
        return [dict(img_path=f'shots/{name}', gt_label=int(label)) for _, (name, label, split) in rows
                if split == self.split]


MUGS = PublishedSet('mugs', 'Mugs', Mugs, 'https://mugs.org', 'CC0.', (Source('mugs.zip', ('shots', 'mugs.txt')),),
                    by_hand='ask')
"""


def test_a_new_set_is_three_edits_and_a_generated_page(script, root, tmp_path, monkeypatch):
    """A base config, a config, and a reader with its description; a published accuracy would be the fourth file."""
    shutil.copytree(root / 'configs', tmp_path / 'configs')
    shutil.copytree(root / PAGES, tmp_path / PAGES)
    base = (root / 'configs' / '_base_' / 'datasets' / 'food101.py').read_text()
    config = (root / 'configs' / 'glsim_vit_food101.py').read_text().replace('food101.py', 'mugs.py')
    base = base.replace('Food101Format', 'Mugs').replace('data/food-101', str(tmp_path / 'mugs'))
    (tmp_path / 'configs' / '_base_' / 'datasets' / 'mugs.py').write_text(base)
    (tmp_path / 'configs' / 'glsim_vit_mugs.py').write_text(re.sub('num_classes=101', 'num_classes=2', config))
    namespace = dict(vars(text_list_sets))
    exec(NEW_READER, namespace)
    monkeypatch.setitem(PUBLISHED_SETS, 'mugs', namespace['MUGS'])
    monkeypatch.setattr(script, 'FOLDER', tmp_path / PAGES)
    monkeypatch.setattr(script, 'ROOT', tmp_path)
    assert script.main([]) == 0

    page = (tmp_path / PAGES / 'mugs.md').read_text()
    assert page.startswith('# Mugs\n') and '| classes | 2 |' in page and '| images | 2 |' in page
    assert 'mugs/\n├── shots/\n└── mugs.txt                   image, label\n' in page
    assert '[Mugs](mugs.md) | 2 | 2 | none | none |' in (tmp_path / PAGES / 'README.md').read_text()
    for number, split in enumerate(('train', 'test')):
        write_image(tmp_path / 'mugs' / 'shots' / f'{split}.jpg')
        with (tmp_path / 'mugs' / 'mugs.txt').open('a') as stream:
            stream.write(f'{split}.jpg {number} {split}\n')
    assert prepare('mugs', tmp_path / 'mugs', images=True, progress=False).is_complete
    loaded = Config.fromfile(tmp_path / 'configs' / 'glsim_vit_mugs.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert DATASETS.build(loaded.test_dataloader.dataset)[0]['data_samples'].gt_label.tolist() == [1]


def test_a_page_says_what_is_known(root):
    text = (root / PAGES / 'cub.md').read_text(encoding='utf-8')
    assert '| `train` | 5,994 | training |' in text
    assert 'data/CUB_200_2011/\n├── images/\n│   └── 001.Black_footed_Albatross/' in text
    assert '`md5:97eceeb196236b17998738112f37df78` (according to Avalanche)' in text
    assert '| GLSim ViT-B/16 | 90.93 | 92.09 |' in text
    assert '(100 / 100): [class_disjoint/cub](' in text
    assert 'No licence stated in the archive' in text


@pytest.mark.parametrize('name', PUBLISHED_SETS)
def test_configs_use_the_reader_and_measure_the_hierarchy(root, name):
    published, config = PUBLISHED_SETS[name], Config.fromfile(root / 'configs' / f'glsim_vit_{name}.py')
    train, test = config.train_dataloader.dataset, config.test_dataloader.dataset
    assert train.type == test.type == published.reader.__name__ and train.data_root == test.data_root
    assert {train.split, test.split} <= set(published.sizes)
    metrics = [metric.type for metric in config.test_evaluator]
    assert ('HierarchicalAccuracy' in metrics) == (published.hierarchy != 'none')


def links(path):
    return re.findall(r'\[[^\]]*\]\(([^)]+)\)', path.read_text(encoding='utf-8').replace('\n', ' '))


def test_links_within_the_project_lead_somewhere(root):
    pages = [root / 'docs' / 'reference' / 'model_zoo.md', *(root / 'docs' / 'reference' / 'datasets').glob('*.md')]
    for path in pages:
        for link in links(path):
            if not link.startswith('http'):
                file, _, heading = link.partition('#')
                assert (path.parent / file).is_file(), (path.name, link)
                target = (path.parent / file).read_text(encoding='utf-8') if heading else ''
                titles = re.findall(r'^#+ (.*)$', target, flags=re.MULTILINE)
                assert not heading or heading in {
                    re.sub(r'[^a-z0-9 -]', '', t.lower()).replace(' ', '-') for t in titles
                }


def test_your_own_set_works_as_it_is_written(root, tmp_path):
    """Both files of the overview load, and their data sets read the table that stands there."""
    text = (root / 'docs' / 'reference' / 'datasets' / 'README.md').read_text(encoding='utf-8')
    shutil.copytree(root / 'configs' / '_base_', tmp_path / 'configs' / '_base_')
    files = re.findall(r'```python\n#[^\n]*?(configs/\S+\.py)\n(.*?)```', text, flags=re.DOTALL)
    assert [file for file, _ in files] == ['configs/_base_/datasets/mugs.py', 'configs/glsim_vit_mugs.py']
    for file, code in files:
        (tmp_path / file).write_text(code)
    (table,) = re.findall(r'```\n(path,label.*?)```', text, flags=re.DOTALL)
    (tmp_path / 'data' / 'mugs').mkdir(parents=True)
    (tmp_path / 'data' / 'mugs' / 'mugs.csv').write_text(table)
    config = Config.fromfile(tmp_path / files[1][0])
    for loader, label in ((config.train_dataloader, 1), (config.test_dataloader, 0)):
        loader.dataset.data_root = str(tmp_path / loader.dataset.data_root)
        write_image(tmp_path / 'data' / 'mugs' / 'shots' / f'000{2 - label}.jpg')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            data = DATASETS.build(loader.dataset)
        assert data.CLASSES == ('blue mug', 'red mug')
        (sample,) = data
        assert sample['data_samples'].gt_label.tolist() == [label]
        assert sample['inputs'].shape == (3, 224, 224)


def test_split_by_classes_works_as_it_is_written(root):
    """Its three names, with the data sets' classes and arguments, are those of the ready configs."""
    text = (root / 'docs' / 'reference' / 'datasets' / 'README.md').read_text(encoding='utf-8')
    (code,) = re.findall(r'```python\n(?:#[^\n]*\n)?(splits = .*?)```', text, flags=re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    ready = Config.fromfile(root / 'configs' / '_base_' / 'datasets' / 'class_disjoint' / 'cub.py')
    train, test = (loader.dataset.to_dict() for loader in (ready.train_dataloader, ready.test_dataloader))
    assert (namespace['train_set'], namespace['test_set']) == (train, test)
