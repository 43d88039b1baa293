"""Write what code and configs know into the pages of the data sets: python docs/dataset_pages.py [--check].

Each page in docs/reference/datasets/ has a block of facts between two comments, from the description beside the set's
reader, its configs and configs/metafile.yml. The rest of a page is written by hand. A set without a page gets one.
"""

import argparse
import inspect
import re
import sys
import textwrap
from functools import cache
from pathlib import Path

import yaml
from mmengine.config import Config
from rich.filesize import decimal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from glsim_mm.datasets.fine_grained import PublishedSet, Source
from glsim_mm.datasets.published_sets import PUBLISHED_SETS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'docs' / 'reference' / 'datasets'
BEGIN = '<!-- Facts, written by docs/dataset_pages.py -->'
END = '<!-- End of the facts -->'
TO_ROOT = '../../../'
KINDS = {'GLSim ViT-B/16': 'glsim_vit', 'plain ViT-B/16': 'vit'}
SIZES = {'224 px': '', '448 px': '_448'}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def link(path: str, label: str = '') -> str:
    """Link to a config below configs/; empty if it is not there."""
    return f'[{label or path}]({TO_ROOT}configs/{path}.py)' if (ROOT / 'configs' / f'{path}.py').is_file() else ''


def count(number: int | None) -> str:
    return 'not stated' if number is None else f'{number:,}'


def overview_row(published: PublishedSet, config: Config) -> list[str]:
    classes = f'{config.model.head.num_classes:,}'
    return [classes, count(published.num_images), published.boxes, published.hierarchy]


def facts(published: PublishedSet, config: Config) -> str:
    """The generated part of a page."""
    train, test = config.train_dataloader.dataset, config.test_dataloader.dataset
    classes, images, boxes, hierarchy = overview_row(published, config)
    uses = {train.split: 'training', test.split: 'validation and test'}
    head = {
        'classes': classes,
        'images': images,
        'class in the configs': f'`{published.reader.__name__}`',
        '`data_root` in the configs': f'`{train.data_root}`',
        'boxes': boxes,
        'hierarchy': hierarchy,
    }
    splits = [[f'`{split}`', count(size), uses.get(split, '')] for split, size in published.sizes.items()]
    sections = {
        'Splits': table(['split', 'images', 'in the configs'], splits),
        'Layout': f'```\n{train.data_root}/\n{layout(published)}\n```',
        'Get it': get_it(published, train.data_root),
        'Configs': configs(published.name, config.model.head.num_classes),
        'Published accuracy': accuracy(published.name),
        'Licence': published.licence,
    }
    parts = [table(['', ''], [[*row] for row in head.items()])]
    return '\n\n'.join([*parts, *(f'## {title}\n\n{text}' for title, text in sections.items())])


def layout(published: PublishedSet) -> str:
    """The tree of files in the docstring of the set's reader."""
    lines = inspect.getdoc(published.reader).split('\n')
    return textwrap.dedent('\n'.join(line for line in lines if re.match(r' *[├└│]', line)))


def get_it(published: PublishedSet, data_root: str) -> str:
    page = published.homepage
    on_page = f'These files are on the [data set page]({page}):'
    parts = [on_page if ' ' not in page else f'These files were once published at {page}:']
    parts.append('\n'.join(f'- {describe(source, published.checksums_from)}' for source in published.sources))
    parts += [f'Some files must be downloaded by hand: {published.by_hand}.'] if published.by_hand else []
    parts += [published.notes] if published.notes else []
    has_download = any(source.url for source in published.sources)
    needs = 'Needs a network connection.' if has_download else 'Needs the files above.'
    download = ' --download' if has_download else ''
    command = f'glsim prepare {published.name} --root {data_root}{download}'
    parts.append(f'```bash\n# {needs}\n{command}\n```')
    return '\n\n'.join(parts)


def describe(source: Source, checksums_from: str) -> str:
    words = [f'[`{source.name}`]({source.url})' if source.url else f'`{source.name}`']
    words += ['optional'] * source.optional
    words += [decimal(source.size)] if source.size else []
    words += [f'`{source.checksum}` (according to {checksums_from})'] if source.checksum else []
    return ', '.join([*words, *([] if source.url else ['to download by hand'])])


def configs(name: str, num_classes: int) -> str:
    rows = [[label, *(link(f'{kind}_{name}{size}') for size in SIZES.values())] for label, kind in KINDS.items()]
    parts = [table(['', *SIZES], rows)]
    others = [link(f'augmentation/glsim_vit_{name}_{kind}', kind) for kind in ('weak', 'strong')]
    if any(others):
        parts.append(
            'The augmentation is the paper\'s "medium". The other augmentations at 224 px are '
            f'{" and ".join(other for other in others if other)}.'
        )
    disjoint = link(f'_base_/datasets/class_disjoint/{name}', f'class_disjoint/{name}')
    if disjoint:
        half = num_classes // 2
        parts.append(f'For retrieval there is a split by classes ({half:,} / {num_classes - half:,}): {disjoint}.')
    return '\n\n'.join(parts)


@cache
def read_models(path: Path) -> list[dict]:
    return yaml.safe_load(path.read_text(encoding='utf-8'))['Models']


def accuracy(name: str) -> str:
    """What the metafile knows from publications."""
    models = read_models(ROOT / 'configs' / 'metafile.yml')
    published = {
        model['Name']: result
        for model in models
        for result in model.get('Results') or ()
        if result['Source'].startswith('published')
    }
    rows, sources = [], {}
    for label, kind in KINDS.items():
        found = [published.get(f'{kind}_{name}{size}') for size in SIZES.values()]
        rows.append([label, *('' if one is None else f'{one["Metrics"]["Top 1 Accuracy"]:.2f}' for one in found)])
        sources.update(dict.fromkeys(one['Source'] for one in found if one is not None))
    if not sources:
        return 'No number is published for these models.'
    words = '; '.join(source.removeprefix('published (').removesuffix(')') for source in sources)
    rest = 'We have not measured them again; an empty cell means that no number is known.'
    return f'{table(["top-1 %", *SIZES], rows)}\n\nThe numbers are from {words}. {rest}'


def render(text: str, block: str) -> str:
    """A page with the block in place of an older one, or at its end."""
    block = f'{BEGIN}\n\n{block}\n\n{END}'
    if BEGIN not in text:
        return f'{text.rstrip()}\n\n{block}\n'
    return text[: text.index(BEGIN)] + block + text[text.index(END) + len(END) :]


def render_all() -> dict[Path, str]:
    """Content of the pages and of their overview."""
    pages, rows = {}, []
    for published in PUBLISHED_SETS.values():
        path = FOLDER / f'{published.name}.md'
        text = path.read_text(encoding='utf-8') if path.is_file() else f'# {published.title}\n'
        config = Config.fromfile(ROOT / 'configs' / f'glsim_vit_{published.name}.py')
        pages[path] = render(text, facts(published, config))
        rows.append([f'[{published.title}]({path.name})', *overview_row(published, config)])
    overview = FOLDER / 'README.md'
    header = ['', 'classes', 'images', 'boxes', 'hierarchy']
    pages[overview] = render(overview.read_text(encoding='utf-8'), table(header, rows))
    return pages


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description='Write the facts on the pages of the data sets')
    parser.add_argument('--check', action='store_true', help='write nothing; exit with 1 if a page is stale')
    args = parser.parse_args(arguments)
    stale = {
        path: text
        for path, text in render_all().items()
        if not path.is_file() or path.read_text(encoding='utf-8') != text
    }
    for path, text in stale.items():
        if not args.check:
            path.write_text(text, encoding='utf-8')
        print(f'{path.relative_to(ROOT)} {"is stale: run python docs/dataset_pages.py" if args.check else "written"}')
    return 1 if stale and args.check else 0


if __name__ == '__main__':
    sys.exit(main())
