"""Write docs/reference/model_zoo.md from configs/metafile.yml: python docs/model_zoo_page.py [--check | --cost CONFIG].

The metafile has OpenMMLab's format. Besides, each result has a ``Source`` that begins with "published" or "measured
here", and the metadata have the ``Image Size`` in pixels.
"""

import argparse
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from glsim_mm.analysis.model_cost import describe_cost

ROOT = Path(__file__).resolve().parents[1]
METAFILE, PAGE = 'configs/metafile.yml', 'docs/reference/model_zoo.md'
ACCURACY, DEVIATION = 'Top 1 Accuracy', 'Top 1 Accuracy Deviation'
TO_ROOT = '../../'
OURS = 'measured here'
# Folder of the configs, title of their table.
SECTIONS = {
    'configs': 'Data sets',
    'configs/baselines': 'Peers',
    'configs/baselines/selectors': 'GLSim with another selector',
    'configs/retrieval': 'Image search',
    'configs/experiments': 'Recorded runs',
}
# Why configs are not in the metafile.
LEFT_OUT = {
    'configs/ablations/*.py': 'one part of the method changed, without results of ours (docs/studies/ablations.md)',
    'configs/augmentation/*.py': 'the models of the data sets with another augmentation, without results of their own',
    'configs/*_demo.py': 'small models for the rendered demo set',
    'configs/downstream/*/*.py': 'detectors and segmenters, which mmdet and mmseg train (docs/guides/downstream.md)',
    'configs/second_look/*.py': 'recorded runs with other crops and first passes (docs/studies/why_look_twice.md)',
    'configs/efficiency/*.py': 'cheaper variants of glsim_vit_cub.py, without published results',
    'configs/glsim_vit_custom.py': 'a template for your own folder of images',
    'configs/retrieval/glsim_vit_supcon_custom.py': 'a template for your own folder of images',
    'configs/glsim_vit_table.py': 'a template for your own table of images',
    'configs/baselines/selectors/glsim_vit_oracle_cub.py': 'needs the annotated boxes of the images that it classifies',
}

INTRODUCTION = """# Model zoo

This page is made from [configs/metafile.yml](../../configs/metafile.yml): `python docs/model_zoo_page.py`.

Top-1 accuracy in %. **Published** numbers are what the source in brackets reports (list below); they were not re-run
here, and there are no weights of ours for them. **Ours** were measured with this code. An empty
cell means that the number is not known.

Parameters are those of the config's number of classes. Multiply-adds are for one image at the config's size, attention,
selection and crops included; OpenMMLab's metafiles call them FLOPs. `python docs/model_zoo_page.py --cost CONFIG`
counts both. [Data sets](datasets/README.md) tells where to get the
photos.

mmpretrain and `mim search glsim_mm` know these names too:

```python
from glsim_mm.apis.model_hub import register_models
from mmpretrain import get_model, list_models

register_models()
list_models('glsim_vit_*')
model = get_model('glsim_vit_cub')  # random weights, or pretrained='work_dirs/glsim_vit_cub/epoch_50.pth'
```

A new config needs an entry in the metafile, or a reason in `LEFT_OUT` of `docs/model_zoo_page.py`; the
tests check this."""

HEADER = (
    '| config | method | data set | px | params, M | multiply-adds, G | published | ours |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
)


def read_models(root: Path) -> list[dict[str, Any]]:
    """The models of a metafile, after a check of their fields.

    Raises:
        ValueError: With a sentence for the first mistake.
    """
    path = root / METAFILE
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'{path} cannot be read ({" ".join(str(error).split())}); correct it') from error
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ('Collections', 'Models')):
        raise ValueError(f'{path} must have the lists Collections and Models; see the metafiles of mmpretrain')
    collections = {collection.get('Name') for collection in content['Collections']}
    for model in content['Models']:
        mistake = find_mistake(model, collections)
        if mistake:
            raise ValueError(f'{path}: the model {model.get("Name", "(without a name)")} {mistake}')
    for field in ('Name', 'Config'):
        values = [model[field].lower() for model in content['Models']]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f'{path} has the {field.lower()} {twice[0]} twice; a model belongs in it once')
    return content['Models']


def find_mistake(model: dict[str, Any], collections: set[str]) -> str | None:
    """What is wrong with an entry, None if nothing is."""
    metadata, results = model.get('Metadata') or {}, model.get('Results') or ()
    for field in ('Name', 'In Collection', 'Config', 'Metadata'):
        if not model.get(field):
            return f'has no {field}; add it'
    for field in ('Training Data', 'Image Size', 'FLOPs', 'Parameters'):
        if not metadata.get(field):
            return f'has no {field}; add it'
        if field != 'Training Data' and not isinstance(metadata[field], int):
            return f'needs a whole number, without a unit, as {field}'
    if model['In Collection'] not in collections:
        return f'is in the collection {model["In Collection"]}, which is not there'
    for result in results:
        top1 = (result.get('Metrics') or {}).get(ACCURACY)
        if result.get('Task') != 'Image Classification' or not result.get('Dataset'):
            return 'needs a Dataset and the Task Image Classification in each result'
        if not isinstance(top1, int | float) or not 0 <= top1 <= 100:
            return f'needs a {ACCURACY} in percent in each result'
        if not str(result.get('Source', '')).startswith((OURS, 'published')):
            return f'needs a Source in each result, "published (where)" or "{OURS} (how)"'
    if model.get('Weights') and not any(result['Source'].startswith(OURS) for result in results):
        return 'has weights, but no result that was measured with them'
    return None


def find_problems(models: list[dict[str, Any]], root: Path, left_out: dict[str, str]) -> list[str]:
    """A sentence for each config that is missing, or in neither or both of the metafile and what is left out of it."""
    listed = {model['Config'] for model in models}
    files = (path.relative_to(root) for path in (root / 'configs').rglob('*.py'))
    there = {path.as_posix() for path in files if '_base_' not in path.parts}
    excused = {pattern: {path for path in there if PurePosixPath(path).match(pattern)} for pattern in left_out}
    known = set().union(*excused.values())
    return [
        *(f'{path} is in the metafile, but not there' for path in sorted(listed - there)),
        *(f'{path} is not in the metafile' for path in sorted(there - listed - known)),
        *(f'{path} is in the metafile, and left out of it' for path in sorted(listed & known)),
        *(f'{pattern} is left out of the metafile, but no config' for pattern, paths in excused.items() if not paths),
    ]


def render(models: list[dict[str, Any]]) -> str:
    """The page: a table for each folder of configs, and where the numbers come from."""
    sources = list(dict.fromkeys(result['Source'] for model in models for result in model.get('Results') or ()))
    folders: dict[str, list[str]] = {folder: [] for folder in SECTIONS}
    for model in models:
        folders.setdefault(str(PurePosixPath(model['Config']).parent), []).append(render_row(model, sources))
    parts = [INTRODUCTION]
    for folder, rows in folders.items():
        if rows:
            parts.append('\n'.join([f'## {SECTIONS.get(folder, folder)}', '', *HEADER, *rows]))
    notes = [f'{number}. {source}' for number, source in enumerate(sources, start=1)]
    return '\n\n'.join([*parts, '\n'.join(['## Sources', '', *notes])]) + '\n'


def render_row(model: dict[str, Any], sources: list[str]) -> str:
    metadata, config = model['Metadata'], model['Config']
    accuracies: dict[bool, list[str]] = {False: [], True: []}
    for result in model.get('Results') or ():
        deviation = result['Metrics'].get(DEVIATION)
        spread = '' if deviation is None else f' ± {deviation:.2f}'
        number = sources.index(result['Source']) + 1
        accuracies[result['Source'].startswith(OURS)].append(f'{result["Metrics"][ACCURACY]:g}{spread} ({number})')
    cells = [
        f'[{PurePosixPath(config).stem}]({TO_ROOT}{config})',
        model['In Collection'],
        metadata['Training Data'][-1],
        str(metadata['Image Size']),
        f'{metadata["Parameters"] / 1e6:.1f}',
        f'{metadata["FLOPs"] / 1e9:.1f}',
        ', '.join(accuracies[False]),
        ', '.join(accuracies[True]),
    ]
    return f'| {" | ".join(cells)} |'


def main(arguments: list[str] | None = None, root: Path = ROOT, left_out: dict[str, str] = LEFT_OUT) -> int:
    parser = argparse.ArgumentParser(description=f'Write {PAGE} from {METAFILE}')
    parser.add_argument('--check', action='store_true', help='write nothing; exit with 1 if the page is stale')
    parser.add_argument('--cost', nargs='+', metavar='CONFIG', help='print the fields that are counted, and end')
    args = parser.parse_args(arguments)
    if args.cost:
        print('\n'.join(describe_cost(path) for path in args.cost))
        return 0
    try:
        models = read_models(root)
    except ValueError as mistake:
        print(mistake)
        return 1
    page, text, problems = root / PAGE, render(models), find_problems(models, root, left_out)
    stale = not page.is_file() or page.read_text(encoding='utf-8') != text
    if stale and args.check:
        problems.append(f'{PAGE} is not what {METAFILE} says; run python docs/model_zoo_page.py')
    if not problems and not args.check:
        page.write_text(text, encoding='utf-8')
        print(f'wrote {page}')
    print('\n'.join(problems), end='')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
