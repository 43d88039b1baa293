"""The pages of the data sets say what classes, configs, metafile and preparation say, and their links work."""

import re
import shutil

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from published_layouts import write_image

from glsim_mm import datasets
from glsim_mm.apis.model_zoo import METAFILE, read_metafile
from glsim_mm.datasets.published_sets import PUBLISHED_SETS

NAMES = 'cub dafb dogs flowers food101 inat17 moe nabirds pets vegfru aircraft cars'.split()
SECTIONS = 'Splits, Layout, Get it, Configs, Published accuracy, Licence, Citation, Notes'.split(', ')
# Sets whose classes know no sizes: from CUB-200-2011's train_test_split.txt; the others publish none.
CUB_SIZES = dict(train=5994, test=5794)


class Page:
    """A page, cut into its parts."""

    def __init__(self, path):
        self.text = path.read_text(encoding='utf-8')
        head, *sections = re.split(r'^## ', self.text, flags=re.MULTILINE)
        self.title = head.split('\n')[0].removeprefix('# ')
        self.facts = dict(rows(head))
        self.sections = {section.split('\n')[0]: section.split('\n', 1)[1] for section in sections}

    def split_of(self, use):
        """The split that a config uses for something."""
        (name,) = [name.strip('`') for name, _, what in rows(self.sections['Splits']) if use in what]
        return name


def rows(text):
    """Rows of the tables in a text, without headers."""
    lines = [line for line in text.split('\n') if line.startswith('|')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return cells[2:]


def number(text):
    return int(text.replace(',', ''))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def page(root, name):
    return Page(root / 'docs' / 'reference' / 'datasets' / f'{name}.md')


@pytest.fixture
def config(root, name):
    return Config.fromfile(root / 'configs' / f'glsim_vit_{name}.py')


def links(path):
    return re.findall(r'\[[^\]]*\]\(([^)]+)\)', path.read_text(encoding='utf-8').replace('\n', ' '))


def test_there_is_a_page_for_each_set_and_no_other(root):
    pages = {path.stem for path in (root / 'docs' / 'reference' / 'datasets').glob('*.md')} - {'README'}
    assert pages == set(NAMES) == set(PUBLISHED_SETS)


def test_every_page_has_every_part(page):
    assert list(page.sections) == SECTIONS
    assert all(text.strip() for text in page.sections.values())
    assert re.search(r'^```bibtex\n@\w+\{\w+,', page.sections['Citation'].strip())


def test_number_of_classes_is_that_of_the_configs(page, config):
    assert number(page.facts['classes']) == config.model.head.num_classes


def test_class_folder_and_splits_are_those_of_the_configs(page, config):
    train, test = config.train_dataloader.dataset, config.test_dataloader.dataset
    assert page.facts['class in the configs'] == f'`{train.type}`' == f'`{test.type}`'
    assert page.facts['`data_root` in the configs'] == f'`{train.data_root}`' == f'`{test.data_root}`'
    assert page.sections['Layout'].strip().split('\n')[1] == f'{train.data_root}/'
    assert (page.split_of('training'), page.split_of('test')) == (train.split, test.split)


def test_sizes_are_those_of_the_class(page, name):
    sizes = getattr(getattr(datasets, page.facts['class in the configs'].strip('`')), 'SIZES', CUB_SIZES)
    listed = {split.strip('`'): size for split, size, _ in rows(page.sections['Splits'])}
    assert set(listed) == set(sizes)
    for split, size in sizes.items():
        if size is None:
            assert not re.search(r'\d{3}', listed[split])  # a ratio or nothing
        else:
            assert number(listed[split]) == size
    if None not in sizes.values():
        disjoint = [size for split, size in sizes.items() if split != 'trainval' or 'train' not in sizes]
        assert number(page.facts['images']) == sum(disjoint)


def test_it_agrees_with_the_preparation(page, name):
    known = PUBLISHED_SETS[name]
    assert page.title == known.title
    assert page.facts['class in the configs'] == f'`{known.dataset_type}`'
    assert page.facts['images'] == ('not stated' if known.num_images is None else f'{known.num_images:,}')
    assert f'prepare.py {name} --root {page.facts["`data_root` in the configs"].strip("`")}' in page.sections['Get it']
    by_hand = any(source.url is None for source in known.sources)
    assert page.sections['Get it'].strip().startswith('By hand:') == by_hand
    assert ('--download\n```' in page.sections['Get it']) == (not by_hand)
    if known.licence.startswith('not stated'):
        assert page.sections['Licence'].strip().startswith('No licence stated')
    for term in ('non-commercial', 'CC BY-SA 4.0', 'fair use'):
        assert (term in known.licence) <= (term in page.sections['Licence'])


def test_accuracies_are_those_of_the_metafile(page, name, root):
    models = {model.name: model for model in read_metafile(root / METAFILE)}
    kinds = {'GLSim ViT-B/16': f'glsim_vit_{name}', 'plain ViT-B/16': f'vit_{name}'}
    listed = {label: cells for label, *cells in rows(page.sections['Published accuracy'])}
    for label, model in kinds.items():
        for column, size in enumerate(('', '_448')):
            published = [result.top1 for result in models[model + size].results if not result.is_ours]
            cell = listed[label][column] if listed else ''
            assert ([float(cell)] if cell else []) == published


def test_hierarchy_is_measured_where_there_is_one(page, config):
    metrics = [metric.type for metric in config.test_evaluator]
    assert ('HierarchicalAccuracy' in metrics) == (page.facts['hierarchy'] != 'none')


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


def test_overview_repeats_the_pages(root):
    overview = rows((root / 'docs' / 'reference' / 'datasets' / 'README.md').read_text(encoding='utf-8'))
    assert len(overview) == len(NAMES)
    for name, (title, *facts) in zip(NAMES, overview):
        page = Page(root / 'docs' / 'reference' / 'datasets' / f'{name}.md')
        assert title == f'[{page.title}]({name}.md)'
        assert facts == [page.facts[key] for key in ('classes', 'images', 'boxes', 'hierarchy')]


def test_your_own_set_works_as_it_is_written(root, tmp_path):
    """Both files of the overview load, and their data sets read the table that stands there."""
    text = (root / 'docs' / 'reference' / 'datasets' / 'README.md').read_text(encoding='utf-8')
    shutil.copytree(root / 'configs' / '_base_', tmp_path / 'configs' / '_base_')
    files = re.findall(r'```python\n# (configs/\S+\.py)\n(.*?)```', text, flags=re.DOTALL)
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
    (code,) = re.findall(r'```python\n(splits = .*?)```', text, flags=re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    ready = Config.fromfile(root / 'configs' / '_base_' / 'datasets' / 'class_disjoint' / 'cub.py')
    train, test = (loader.dataset.to_dict() for loader in (ready.train_dataloader, ready.test_dataloader))
    assert (namespace['train_set'], namespace['test_set']) == (train, test)
