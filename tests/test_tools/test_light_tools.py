"""Tools that need no model load none: each is started as a process, and what it imported is looked at."""

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_files import write_model
from tiny_run import ROOT

from glsim_mm.apis import load_config
from glsim_mm.exporting import export_model
from glsim_mm.search import ExportedEncoder
from retrieval.gallery import Record, create_gallery

HEAVY = {'torch', 'mmengine', 'mmcv', 'mmpretrain'}
# Runs a tool as a script of its own and writes what of the model stack it loaded, whatever way it ends.
WATCH = f"""
import atexit, json, runpy, sys
from pathlib import Path
out, sys.argv = sys.argv[1], sys.argv[2:]
atexit.register(lambda: Path(out).write_text(json.dumps(sorted(sys.modules.keys() & {HEAVY!r}))))
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def start(out: Path, tool: str, *arguments: object) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run a tool; returns how it ended and which packages of the model stack it loaded."""
    command = [sys.executable, '-c', WATCH, out, ROOT / 'tools' / f'{tool}.py', *arguments]
    result = subprocess.run([str(part) for part in command], cwd=out.parent, capture_output=True, text=True)
    return result, json.loads(out.read_text())


@pytest.fixture(scope='module')
def gallery(tmp_path_factory) -> Path:
    """Twenty rows of two classes, two of them of one file."""
    path = tmp_path_factory.mktemp('light') / 'gallery'
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    records = [Record(path=f'{row}.jpg', label='ab'[row % 2], content_hash=f'{row // 2:064}') for row in range(20)]
    with create_gallery(path, 8) as created:
        created.add(vectors, records)
    return path


@pytest.fixture(scope='module')
def exported(tmp_path_factory) -> tuple[Path, Path, Path]:
    """An .onnx file, photos, and a gallery that it made."""
    folder = tmp_path_factory.mktemp('light_exported')
    config, weights, images = write_model(folder)
    export_model(load_config(config), weights, folder / 'model.onnx')
    encoder = ExportedEncoder(folder / 'model.onnx')
    encoded = encoder.encode(images)
    spaces = {name: values.shape[1] for name, values in encoded.embeddings.items()}
    with create_gallery(folder / 'gallery', spaces, fingerprint=encoder.fingerprint) as gallery:
        gallery.add(encoded.embeddings, encoded.records)
    return folder / 'model.onnx', images, folder / 'gallery'


@pytest.mark.parametrize(
    'tool, arguments',
    [
        ('info', ['--verify', '--id', 3]),
        ('duplicates', ['--threshold', 0.9]),
        ('evaluate', ['--no-map']),
        ('search', ['--id', 3, '--rerank', 'k-reciprocal']),
        ('remove', ['--id', 3, '--dry-run']),
        ('migrate', ['copy']),
    ],
)
def test_tools_for_galleries(gallery, tmp_path, tool, arguments):
    result, loaded = start(tmp_path / 'loaded.json', f'retrieval/{tool}', gallery, *arguments)
    assert (result.returncode, loaded) == (0, []), result.stderr


@pytest.mark.slow
@pytest.mark.slow
def test_tools_for_exported_files(exported, tmp_path):
    model, images, gallery = exported
    result, loaded = start(tmp_path / 'loaded.json', 'infer_exported', model, images, '--out', 'results.json')
    assert (result.returncode, loaded) == (0, []), result.stderr
    result, loaded = start(tmp_path / 'loaded.json', 'retrieval/search', gallery, images, '--checkpoint', model)
    assert (result.returncode, loaded) == (0, []), result.stderr
    assert result.stdout.count('rank') == 8


@pytest.mark.parametrize(
    'tool, arguments, message',
    [
        ('train', ['nowhere.py'], 'config file nowhere.py does not exist'),
        ('test', ['CONFIG', 'nowhere.pth'], 'checkpoint nowhere.pth does not exist'),
        ('test', ['CONFIG', 'CONFIG', '--out', 'a.json'], '--out a.json: pred can be written as .pkl'),
        ('infer', ['CONFIG', 'CONFIG', 'nowhere.jpg'], 'nowhere.jpg does not exist'),
        ('export', ['CONFIG', 'CONFIG', '--out', 'a.bin'], 'the name must end in .onnx or .pt2'),
        ('infer_exported', ['nowhere.onnx', 'CONFIG'], 'nowhere.onnx does not exist'),
        ('detect_and_search', ['CONFIG', '--config', 'CONFIG', '--checkpoint', 'CONFIG', '--box', 0, 0, 9, 9,
          '--gallery', 'GALLERY', '--space', 'best'], "no space 'best'"),
        ('retrieval/build', ['CONFIG', 'CONFIG', 'CONFIG', '--out', 'GALLERY'], 'is a gallery already'),
        ('retrieval/build', ['CONFIG', 'CONFIG', 'CONFIG', '--out', 'g', '--metric', 'cos'], 'metric must be one of'),
        ('retrieval/build', ['TABLE', 'CONFIG', 'CONFIG', '--out', 'g'], 'no column "path"'),
        ('retrieval/build', ['TABLE', 'CONFIG', 'CONFIG', '--out', 'g', '--spaces', 'head'], 'spaces must be some of'),
        ('retrieval/build', ['TABLE', 'CONFIG', 'CONFIG', '--out', 'g', '--preset', 'flatt'], 'is neither one of'),
        ('retrieval/add', ['nowhere', 'CONFIG'], 'nowhere'),
        ('retrieval/search', ['GALLERY', 'CONFIG', '--where', 'colour=red'], "no column 'colour'"),
        ('retrieval/search', ['GALLERY', 'CONFIG', '--rerank', 'magic'], 'method must be one of'),
        ('retrieval/classify', ['GALLERY', 'CONFIG', '--space', 'best'], "no space 'best'"),
        ('retrieval/classify', ['GALLERY', 'CONFIG', '--taxonomy-columns', 'genus'], "no column 'genus'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_the_model_stack_is_loaded(gallery, tmp_path, tool, arguments, message):
    (tmp_path / 'config.py').touch()
    (tmp_path / 'table.csv').write_text('file,label\na.jpg,x\n')
    names = dict(CONFIG='config.py', GALLERY=gallery, TABLE='table.csv')
    arguments = [names.get(argument, argument) for argument in arguments]
    result, loaded = start(tmp_path / 'loaded.json', tool, *arguments)
    assert (result.returncode, loaded) == (2, []), result.stderr
    assert message in result.stderr.splitlines()[-1]


@pytest.mark.parametrize('tool', sorted(path.relative_to(ROOT / 'tools').with_suffix('').as_posix()
    for path in (ROOT / 'tools').rglob('*.py') if path.name != 'command_line.py'))  # fmt: skip
def test_help_needs_nothing_installed(tool, tmp_path):
    """Without site-packages (-S): Python alone."""
    result = subprocess.run(
        [sys.executable, '-S', ROOT / 'tools' / f'{tool}.py', '--help'], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0 and result.stdout.startswith('usage: '), result.stderr


def test_looking_into_a_gallery_costs_little_more_than_faiss(gallery, tmp_path):
    """Ratio of CPU times, of several runs in turns; the model stack would make it 10 and more."""
    info = [sys.executable, str(ROOT / 'tools' / 'retrieval' / 'info.py'), str(gallery)]
    faiss = [sys.executable, '-c', 'import faiss']
    ratio = statistics.median(cpu_seconds(info) / cpu_seconds(faiss) for _ in range(5))
    assert ratio < 4


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
