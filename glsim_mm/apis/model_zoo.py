"""The model zoo: OpenMMLab's metafile, checked, and its table in Markdown."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from ..errors import GLSimError, one_line

METAFILE = 'configs/metafile.yml'
PAGE = 'docs/reference/model_zoo.md'
TASK = 'Image Classification'
ACCURACY = 'Top 1 Accuracy'
DEVIATION = 'Top 1 Accuracy Deviation'
OURS = 'measured here'
_NEEDED = ('Name', 'In Collection', 'Config', 'Metadata')
_NEEDED_METADATA = ('Training Data', 'Image Size', 'FLOPs', 'Parameters')
# Folder of the configs, title of their table.
_SECTIONS = {
    'configs': 'Data sets',
    'configs/baselines': 'Peers',
    'configs/baselines/selectors': 'GLSim with another selector',
    'configs/retrieval': 'Image search',
    'configs/experiments': 'Recorded runs',
}
LEFT_OUT = {
    'configs/augmentation/*.py': 'the models of the data sets with another augmentation, without results of their own',
    'configs/*_demo.py': 'small models for the rendered demo set',
    'configs/downstream/*/*.py': 'detectors and segmenters, which mmdet and mmseg train (docs/guides/downstream.md)',
    'configs/efficiency/*.py': 'cheaper variants of glsim_vit_cub.py, without published results',
    'configs/glsim_vit_custom.py': 'a template for your own folder of images',
    'configs/retrieval/glsim_vit_supcon_custom.py': 'a template for your own folder of images',
    'configs/glsim_vit_table.py': 'a template for your own table of images',
    'configs/baselines/selectors/glsim_vit_oracle_cub.py': 'needs the annotated boxes of the images that it classifies',
}
"""Why configs are not in the metafile."""

_INTRODUCTION = """# Model zoo

This page is made from [configs/metafile.yml](../../configs/metafile.yml): `python tools/model_zoo.py`.

Top-1 accuracy in %. **Published** numbers are what the source in brackets reports (list below); they were not re-run
here, and there are no weights of ours for them. **Ours** were measured with this code. An empty cell: not known.

Parameters are those of the config's number of classes. Multiply-adds are for one image at the config's size, attention,
selection and crops included; OpenMMLab's metafiles call them FLOPs. `python tools/model_zoo.py --cost CONFIG` counts
both. What the data sets are and where to get them: [datasets/](datasets/README.md).

mmpretrain and `mim search glsim_mm` know these names too:

```python
from glsim_mm.apis.model_hub import register_models
from mmpretrain import get_model, list_models

register_models()
list_models('glsim_vit_*')
model = get_model('glsim_vit_cub')  # random weights, or pretrained='work_dirs/glsim_vit_cub/epoch_50.pth'
```

A new config needs an entry in the metafile, or a reason in `LEFT_OUT` of `glsim_mm/apis/model_zoo.py`; tests look."""

_HEADER = (
    '| config | method | data set | px | params, M | multiply-adds, G | published | ours |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
)


class Accuracy(NamedTuple):
    """A result of the metafile.

    Attributes:
        dataset: What was tested on.
        top1: Percent.
        deviation: Standard deviation over seeds, percent; None for a single run.
        source: Where the number comes from; begins with ``'measured here'`` or ``'published'``.
    """

    dataset: str
    top1: float
    deviation: float | None
    source: str

    @property
    def is_ours(self) -> bool:
        """Measured with this package, not taken from a publication."""
        return self.source.startswith(OURS)


class ZooModel(NamedTuple):
    """A model of the metafile.

    Attributes:
        name: Unique name.
        collection: Method.
        config: Path below the root of the project.
        training_data: Data sets in the order of training; the last is the one it is for.
        image_size: Side in pixels.
        flops: Multiply-adds per image, which OpenMMLab's metafiles call FLOPs.
        parameters: Number of parameters.
        results: Known accuracies.
    """

    name: str
    collection: str
    config: str
    training_data: tuple[str, ...]
    image_size: int
    flops: int
    parameters: int
    results: tuple[Accuracy, ...]


def read_metafile(path: str | Path) -> list[ZooModel]:
    """Read a metafile in OpenMMLab's format and check it.

    Beside OpenMMLab's fields, each result has a ``Source``, which begins with ``published`` or ``measured here``, and
    the metadata have the ``Image Size`` in pixels.

    Args:
        path: The YAML file.

    Returns:
        In the order of the file.

    Raises:
        GLSimError: If the file is not there or no YAML, a field is missing or of another kind, a name or config comes
            twice, a collection is unknown, a result has no source, or a published number comes with weights.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); correct it') from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ('Collections', 'Models')
    ):
        raise GLSimError(f'{path} must have the lists Collections and Models; see the metafiles of mmpretrain')
    collections = {collection.get('Name') for collection in content['Collections']}
    models = [_read_model(entry, collections, path) for entry in content['Models']]
    for field in ('name', 'config'):
        values = [getattr(model, field).lower() for model in models]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise GLSimError(f'{path} has the {field} {twice[0]} twice; a model belongs in it once')
    return models


def _read_model(entry: Mapping[str, Any], collections: set, path: str | Path) -> ZooModel:
    name = entry.get('Name', '(without a name)')
    metadata = entry.get('Metadata') or {}
    missing = [key for key in _NEEDED if not entry.get(key)] + [
        key for key in _NEEDED_METADATA if not metadata.get(key)
    ]
    if missing:
        raise GLSimError(f'{path}: the model {name} has no {missing[0]}; add it')
    if entry['In Collection'] not in collections:
        raise GLSimError(f'{path}: the model {name} is in the collection {entry["In Collection"]}, which is not there')
    numbers = [key for key in _NEEDED_METADATA[1:] if not isinstance(metadata[key], int)]
    if numbers:
        raise GLSimError(f'{path}: {numbers[0]} of the model {name} must be a whole number, without a unit')
    results = tuple(_read_result(result, name, path) for result in entry.get('Results') or ())
    if entry.get('Weights') and not any(result.is_ours for result in results):
        raise GLSimError(f'{path}: the model {name} has weights, but no result that was measured with them')
    return ZooModel(
        name=name,
        collection=entry['In Collection'],
        config=entry['Config'],
        training_data=tuple(metadata['Training Data']),
        image_size=metadata['Image Size'],
        flops=metadata['FLOPs'],
        parameters=metadata['Parameters'],
        results=results,
    )


def _read_result(result: Mapping[str, Any], name: str, path: str | Path) -> Accuracy:
    metrics, source = result.get('Metrics') or {}, str(result.get('Source', ''))
    top1, deviation = metrics.get(ACCURACY), metrics.get(DEVIATION)
    if result.get('Task') != TASK or not result.get('Dataset'):
        raise GLSimError(f'{path}: a result of the model {name} needs a Dataset and the Task {TASK}')
    if not isinstance(top1, int | float) or not 0 <= top1 <= 100:
        raise GLSimError(f'{path}: a result of the model {name} needs a {ACCURACY} in percent')
    if not source.startswith((OURS, 'published')):
        raise GLSimError(f'{path}: a result of the model {name} needs a Source, "published (where)" or "{OURS} (how)"')
    return Accuracy(result['Dataset'], float(top1), deviation, source)


def find_problems(models: Iterable[ZooModel], root: str | Path, left_out: Mapping[str, str]) -> list[str]:
    """Compare a metafile with the configs that there are.

    Args:
        models: The metafile.
        root: Root of the project.
        left_out: Why configs are not in it: paths below the root, patterns allowed, and reasons.

    Returns:
        A sentence for each config that is missing, or in neither or both of the two.
    """
    root, listed = Path(root), {model.config for model in models}
    there = {
        path.relative_to(root).as_posix()
        for path in (root / 'configs').rglob('*.py')
        if '_base_' not in path.relative_to(root).parts
    }
    excused = {pattern: {path for path in there if PurePosixPath(path).match(pattern)} for pattern in left_out}
    known = set().union(*excused.values())
    return [
        *(f'{path} is in the metafile, but not there' for path in sorted(listed - there)),
        *(f'{path} is not in the metafile' for path in sorted(there - listed - known)),
        *(f'{path} is in the metafile, and left out of it' for path in sorted(listed & known)),
        *(f'{pattern} is left out of the metafile, but no config' for pattern, paths in excused.items() if not paths),
    ]


def render_page(models: Iterable[ZooModel], link_prefix: str = '../../') -> str:
    """The model zoo as a page: a table for each folder of configs, and where the published numbers come from.

    Args:
        models: The metafile.
        link_prefix: From the page to the root of the project.

    Returns:
        Markdown.
    """
    models = list(models)
    sources = list(dict.fromkeys(result.source for model in models for result in model.results))
    folders: dict[str, list[ZooModel]] = {folder: [] for folder in _SECTIONS}
    for model in models:
        folders.setdefault(str(PurePosixPath(model.config).parent), []).append(model)
    parts = [_INTRODUCTION]
    for folder, members in folders.items():
        if members:
            rows = [_render_row(model, sources, link_prefix) for model in members]
            parts.append('\n'.join([f'## {_SECTIONS.get(folder, folder)}', '', *_HEADER, *rows]))
    notes = [f'{number}. {source}' for number, source in enumerate(sources, start=1)]
    return '\n\n'.join([*parts, '\n'.join(['## Sources', '', *notes])]) + '\n'


def _render_row(model: ZooModel, sources: list[str], link_prefix: str) -> str:
    cells = [
        f'[{PurePosixPath(model.config).stem}]({link_prefix}{model.config})',
        model.collection,
        model.training_data[-1],
        str(model.image_size),
        f'{model.parameters / 1e6:.1f}',
        f'{model.flops / 1e9:.1f}',
        _render_results([result for result in model.results if not result.is_ours], sources),
        _render_results([result for result in model.results if result.is_ours], sources),
    ]
    return f'| {" | ".join(cells)} |'


def _render_results(results: Iterable[Accuracy], sources: list[str]) -> str:
    cells = []
    for result in results:
        deviation = '' if result.deviation is None else f' ± {result.deviation:.2f}'
        cells.append(f'{result.top1:g}{deviation} ({sources.index(result.source) + 1})')
    return ', '.join(cells)


def write_page(root: str | Path) -> Path:
    """Write ``docs/reference/model_zoo.md`` from ``configs/metafile.yml``.

    Args:
        root: Root of the project.

    Returns:
        The page.

    Raises:
        GLSimError: If the metafile cannot be read or does not fit the configs, or there is no folder for the page.
    """
    models = read_metafile(Path(root) / METAFILE)
    problems = find_problems(models, root, LEFT_OUT)
    if problems:
        raise GLSimError(f'{problems[0]}; correct {METAFILE}')
    page = Path(root) / PAGE
    if not page.parent.is_dir():
        raise GLSimError(f'{page.parent} is not there; call this in a checkout of the project')
    page.write_text(render_page(models), encoding='utf-8')
    return page


def check_page(root: str | Path) -> list[str]:
    """Look whether ``configs/metafile.yml`` fits the configs and ``docs/reference/model_zoo.md``.

    Args:
        root: Root of the project.

    Returns:
        A sentence for each problem, none if all is well.

    Raises:
        GLSimError: If the metafile cannot be read.
    """
    models, page = read_metafile(Path(root) / METAFILE), Path(root) / PAGE
    problems = find_problems(models, root, LEFT_OUT)
    if not page.is_file() or page.read_text(encoding='utf-8') != render_page(models):
        problems.append(f'{PAGE} is not what {METAFILE} says; run python tools/model_zoo.py')
    return problems
