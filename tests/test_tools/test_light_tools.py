"""Tools that need no model load none: each is started as a process, and what it imported is looked at."""

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from tiny_run import ROOT

from glsim_mm.search import ExportedEncoder
from retrieval.gallery import Record, create_gallery, open_gallery

HEAVY = {'torch', 'mmengine', 'mmcv', 'mmpretrain'}
# Runs tools as scripts, one after the other, and writes of each how it ended and what it printed. None of them loads
# the model stack, so that what is loaded in the end tells of all.
RUN = f"""
import contextlib, io, json, runpy, sys
from pathlib import Path
results = []
for command in json.loads(sys.argv[1]):
    sys.argv, code, printed = command, 0, io.StringIO()
    sys.path[0] = str(Path(command[0]).parent)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            runpy.run_path(command[0], run_name='__main__')
        except SystemExit as end:
            code = end.code or 0
    results.append((code, printed.getvalue(), sorted(sys.modules.keys() & {HEAVY!r})))
print(json.dumps(results))
"""


def start(cwd: Path, *commands: tuple, options: tuple = (), before: str = '') -> list[tuple[int, str, list[str]]]:
    """Exit code, output, and loaded packages of the model stack, of tools and their arguments run in one process."""
    listed = [[str(ROOT / 'tools' / f'{tool}.py'), *map(str, arguments)] for tool, *arguments in commands]
    command = [sys.executable, *options, '-c', before + RUN, json.dumps(listed)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [tuple(one) for one in json.loads(result.stdout)]


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
def exported(made, tmp_path_factory) -> tuple[Path, Path, Path]:
    """An .onnx file, photos, and a gallery that it made."""
    _, _, images, path = made
    folder = tmp_path_factory.mktemp('light_exported')
    encoder = ExportedEncoder(path, keep_patches=True)
    encoded = encoder.encode(str(images / 'plain'))
    spaces = {name: values.shape[1] for name, values in encoded.embeddings.items()}
    made_by = dict(fingerprint=encoder.fingerprint, origin=dict(patches='3', checkpoint=str(path)))
    with create_gallery(folder / 'gallery', spaces, **made_by) as gallery:
        gallery.add(encoded.embeddings, encoded.records, patches=encoded.patches)
    return path, images, folder / 'gallery'


def test_a_server_of_an_exported_model_needs_no_torch(exported, tmp_path):
    """It says where it is when it is ready, answers, and ends when it is told to."""
    pytest.importorskip('fastapi', reason='needs the extra serve')
    _, images, gallery = exported  # which remembers the model
    script = str(ROOT / 'tools' / 'serve.py')
    token_file = str(tmp_path / 'token')
    options = [str(gallery), '--port', '0', '--token-file', token_file, '--writable']
    without = f'import runpy, sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)})); sys.path[0] = {str(ROOT)!r}; '
    without += f'sys.argv = {[script, *options]!r}; runpy.run_path(sys.argv[0], run_name="__main__")'
    with subprocess.Popen([sys.executable, '-c', without], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            said = server.stdout.readline()
            address, _, token = said.strip().removeprefix('ready: ').partition('#token=')
            assert address.startswith('http://127.0.0.1:') and token == (tmp_path / 'token').read_text().strip()
            photo = next(images.rglob('plain0.png')).read_bytes()
            part = b'Content-Disposition: form-data; name="photo"; filename="a"'
            body = b'--x\r\n' + part + b'\r\n\r\n' + photo + b'\r\n--x--\r\n'
            headers = {'Content-Type': 'multipart/form-data; boundary=x', 'Authorization': f'Bearer {token}'}
            with urlopen(Request(f'{address}api/v1/search', body, headers)) as answer:
                assert json.load(answer)['hits'][0]['path'].endswith('plain0.png')
            now = open_gallery(gallery).manifest.generation
            headers = {'Content-Type': 'application/json', 'Authorization': f'Bearer {token}', 'If-Match': f'"{now}"'}
            body = b'{"values": {"label": "Wren"}}'
            with urlopen(Request(f'{address}api/v1/rows/0', body, headers, method='PATCH')) as answer:
                assert json.load(answer)['changed'] == 1
            headers['If-Match'] = answer.headers['ETag']
            with urlopen(Request(f'{address}api/v1/undo/1', b'', headers)) as answer:
                assert json.load(answer)['changed'] == 1
            with urlopen(address) as page:
                assert '<html' in page.read().decode()
        finally:
            server.terminate()
        assert server.wait(20) in (0, -15) and server.stdout.read() == ''


def test_tools_for_galleries(gallery, tmp_path):
    (tmp_path / 'metrics.json').write_text('{"accuracy/top1": 90.0}')
    commands = [
        ('retrieval/info', gallery, '--verify', '--id', 3),
        ('retrieval/duplicates', gallery, '--threshold', 0.9),
        ('retrieval/audit', gallery, '--out', 'audit.html', 'labels.csv'),
        ('retrieval/classes', gallery, '--out', 'classes.html'),
        ('retrieval/evaluate', gallery, '--no-map'),
        ('retrieval/search', gallery, '--id', 3, '--rerank', 'k-reciprocal'),
        ('retrieval/remove', gallery, '--id', 3, '--dry-run'),
        ('retrieval/label', gallery, '--id', 3, '--set', 'label=c', '--dry-run'),
        ('retrieval/label', gallery, '--history'),
        ('retrieval/classify', gallery, '--tune'),
        ('retrieval/metric', 'fit', gallery, '--force'),
        ('retrieval/metric', 'info', gallery),
        ('retrieval/metric', 'remove', gallery),
        ('retrieval/migrate', gallery, 'copy'),
        ('retrieval/backup', gallery, 'backup'),
        ('retrieval/restore', gallery, 'restored'),
        ('retrieval/swap', 'restored', 'copy'),
        ('compare', 'GLSim=metrics.json'),
        ('datasets/make_demo', 'demo', '--classes', 2, '--train', 1, '--test', 1),
    ]
    for command, (code, printed, loaded) in zip(commands, start(tmp_path, *commands)):
        assert (code, loaded) == (0, []), (command, printed)


@pytest.mark.slow
def test_tools_for_exported_files(exported, tmp_path):
    model, images, gallery = exported
    results = start(
        tmp_path,
        ('infer_exported', model, images, '--out', 'results.json'),
        ('retrieval/sync', gallery, images, '--checkpoint', model),
        ('retrieval/add', gallery, images, '--checkpoint', model),
        ('retrieval/search', gallery, images, '--checkpoint', model, '--rerank', 'region'),
        ('retrieval/classify', gallery, images, '--checkpoint', model),
    )
    results += start(  # with the model that the gallery remembers
        tmp_path,
        ('retrieval/sync', gallery, images / 'plain'),
        ('retrieval/add', gallery, images),
        ('retrieval/search', gallery, images),
        ('retrieval/classify', gallery, images),
    )
    assert [(code, loaded) for code, _, loaded in results] == [(0, [])] * 9, results
    assert 'encoding: 4 of 4' in results[1][1]
    assert results[3][1].count('rank') == 8


def test_mistakes_are_told_before_the_model_stack_is_loaded(gallery, tmp_path):
    for name in ('config.py', 'weights.pth', 'epoch_2.pth', 'epoch_10.pth', 'model.onnx'):
        (tmp_path / name).touch()
    (tmp_path / 'broken.jpg').write_bytes(b'no photo')
    (tmp_path / 'of_mmdet.py').write_text("_base_ = ['mmrotate::some/some.py']\n")
    (tmp_path / 'moved.py').write_text("_base_ = ['/gone/glsim_mm/.mim/configs/_base_/models/a.py']\n")
    (tmp_path / 'table.csv').write_text('file,label\na.jpg,x\n')
    config, weights, broken = 'config.py', 'weights.pth', 'broken.jpg'
    build = ('retrieval/build', 'table.csv', config, weights, '--out')
    Image.new('RGB', (9, 9)).save(tmp_path / 'a.png')
    detect = ('detect_and_search', 'a.png', '--config', config, '--checkpoint', weights, '--box', 0, 0, 9, 9)
    search, classify = ('retrieval/search', gallery, config), ('retrieval/classify', gallery, config)
    cases = [
        (('train', 'nowhere.py'), 'config file nowhere.py does not exist'),
        (('test', config, 'nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
        (('test', config, weights, '--out', 'a.json'), '--out a.json: pred can be written as .pkl'),
        (('test', config, weights, '--tta', '--show'), 'cannot be combined with --show or --show-dir'),
        (('infer', config, weights, 'nowhere.jpg'), 'error: nowhere.jpg does not exist'),
        (('infer', config, weights, config, '--selector', 'gsl'), "there is no selector 'gsl'; did you mean gls?"),
        (('look', config, weights, '--selectors', 'gls', 'mine'), "there is no selector 'mine'"),
        (('analysis/selection_cost', '--selectors', 'mine'), "there is no selector 'mine'"),
        (('benchmark', 'inference', '--modes', 'eager', 'fast'), "there is no mode 'fast'; choose from eager"),
        (('benchmark', 'training', '--sizes', 100), 'multiples of 32 pixels here, got 100'),
        (('export', config, weights, '--out', 'a.bin'), 'the name must end in .onnx or .pt2'),
        (('infer_exported', 'nowhere.onnx', config), 'nowhere.onnx does not exist'),
        ((*detect, '--gallery', gallery, '--space', 'best'), "no space 'best'"),
        ((*build, gallery), 'is a gallery already'),
        ((*build, 'g', '--metric', 'cos'), 'metric must be one of'),
        ((*build, 'g'), 'no column "path"'),
        ((*build, 'g', '--spaces', 'head'), 'spaces must be some of'),
        ((*build, 'g', '--preset', 'flatt'), 'is neither one of'),
        (('retrieval/benchmark_encoding', config, weights, 'nowhere'), 'nowhere does not exist'),
        (('retrieval/add', 'nowhere', config), 'nowhere'),
        (('retrieval/add', gallery, config), 'does not say which model made it: give --config and --checkpoint'),
        ((*search, '--where', 'colour=red'), "no column 'colour'"),
        ((*search, '--rerank', 'magic'), 'method must be one of'),
        (search, 'does not say which model made it: give --config and --checkpoint'),
        ((*classify, '--space', 'best'), "no space 'best'"),
        ((*classify, '--taxonomy-columns', 'genus'), "no column 'genus'"),
        ((*build, 'g', '--root', 'nowhere'), 'error: folder nowhere does not exist; check the path'),
        ((*search, '--root', 'nowhere'), 'error: folder nowhere does not exist; check the path'),
        ((*search, '--space', 'globl'), "no space 'globl'; it has"),
        (('retrieval/search', gallery, '--id', 3, '--space', 'globl'), "no space 'globl'; it has"),
        (('retrieval/evaluate', gallery, '--space', 'globl'), "no space 'globl'; it has"),
        (('retrieval/evaluate', gallery, '--query-space', 'globl'), "no space 'globl'; it has"),
        (('retrieval/duplicates', gallery, '--space', 'globl'), "no space 'globl'; it has"),
        (('retrieval/audit', gallery, '--space', 'globl'), "no space 'globl'; it has"),
        ((*search, '--parameters', 'nprobe=3'), "no parameter 'nprobe': it compares every row; leave nprobe out"),
        ((*search, '--rerank', 'region'), 'the gallery keeps no patches: build it with --keep-patches'),
        ((*search, '--where', 'year>=2019'), "there is no column 'year'; the columns are id, path, label"),
        (
            ('retrieval/search', gallery, broken, '--config', config, '--checkpoint', weights),
            'error: broken.jpg cannot be read: not an image',
        ),
        (
            ('retrieval/classify', gallery, broken, broken, '--config', config, '--checkpoint', weights),
            'error: no photo can be read; the first, broken.jpg cannot be read: not an image',
        ),
        (
            ('retrieval/search', broken, gallery),
            f'broken.jpg is not a gallery, but {gallery} is one: the gallery comes',
        ),
        (('train', weights), 'weights.pth is no config file, whose name ends in .py'),
        (('infer', broken, config, weights), 'broken.jpg is no config file, whose name ends in .py'),
        (('infer', config, broken, weights), 'broken.jpg is no checkpoint: look at the order of the arguments'),
        (('test', config, 'model.onnx'), 'model.onnx is an exported model, and weights are needed here'),
        (('test', config, config), 'config.py is no checkpoint: look at the order of the arguments'),
        (('infer', config, weights, broken, broken), 'no photo can be read; the first, broken.jpg cannot be read'),
        (('infer_exported', 'model.onnx', broken), 'error: broken.jpg cannot be read: not an image'),
        ((*detect[:1], broken, *detect[2:]), 'error: broken.jpg cannot be read: not an image'),
        (('retrieval/build', config, weights, tmp_path, '--out', 'g'), 'is no config file, whose name ends in .py'),
        (('test', tmp_path, weights), 'is a folder and no config file: look at the order of the arguments'),
        (('test', config, 'epoch_50.pth'), 'the nearest in its folder are epoch_10.pth, epoch_2.pth'),
        (('train', config, '--resume', 'epoch_50.pth'), 'the nearest in its folder are epoch_10.pth, epoch_2.pth'),
        (
            ('test', config, 'runs/a/epoch_5.pth'),
            'checkpoint runs/a/epoch_5.pth does not exist: there is no folder runs',
        ),
        (('train', 'moved.py'), "if the package has moved, write 'glsim_mm::_base_/models/a.py', which finds it"),
        (('train', weights, config), 'error: unrecognized arguments: config.py (see train.py --help)'),
        (('train', 'of_mmdet.py'), 'inherits from mmrotate, which is not installed: pip install mmrotate'),
        ((*classify, '--config', config), 'does not say which model made it: give --config and --checkpoint'),
    ]
    for (command, message), (code, printed, loaded) in zip(cases, start(tmp_path, *(case[0] for case in cases))):
        assert (code, loaded) == (2, []), (command, printed)
        assert message in printed.splitlines()[-1], command


# Finds no module of one package.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *place: None if name.partition('.')[0] == {!r} else find(name, *place)
"""


@pytest.mark.parametrize(
    'package, command, message',
    [
        ('faiss', ('retrieval/search', 'GALLERY', '--id', 3), 'pip install faiss-cpu'),
        ('faiss', ('retrieval/build', 'IMAGES', 'config.py', 'weights.pth', '--out', 'g'), 'pip install faiss-cpu'),
        ('pymilvus', ('retrieval/info', 'milvus://localhost:1/x'), 'pip install pymilvus'),
        ('onnxruntime', ('infer_exported', 'model.onnx', 'a.jpg'), 'pip install onnxruntime'),
        ('onnx', ('export', 'config.py', 'weights.pth', '--out', 'a.onnx'), 'pip install onnx'),
        ('PIL', ('retrieval/search', 'GALLERY', '--id', 3), 'pip install pillow'),
    ],
)
def test_a_missing_package_is_one_line_that_installs_it(package, command, message, gallery, tmp_path):
    for name in ('config.py', 'weights.pth', 'model.onnx', 'a.jpg'):
        (tmp_path / name).touch()
    names = {'GALLERY': gallery, 'IMAGES': 'a.jpg'}
    [(code, printed, loaded)] = start(
        tmp_path, tuple(names.get(one, one) for one in command), before=WITHOUT.format(package)
    )
    assert (code, loaded) == (2, []), printed
    (line,) = printed.splitlines()
    assert line.startswith('error: ') and message in line


def test_help_needs_nothing_installed(tmp_path, monkeypatch):
    """Without site-packages (-S): Python alone; in lines that fit a terminal."""
    monkeypatch.setenv('COLUMNS', '80')
    tools = [path.relative_to(ROOT / 'tools').with_suffix('') for path in (ROOT / 'tools').rglob('*.py')]
    commands = [(tool, '--help') for tool in tools if tool.name != 'command_line']
    for (tool, _), (code, printed, _) in zip(commands, start(tmp_path, *commands, options=('-S',))):
        assert code == 0 and printed.startswith('usage: '), (tool, printed)
        assert max(map(len, printed.splitlines())) <= 80, tool


def test_looking_into_a_gallery_costs_little_more_than_faiss(gallery, tmp_path):
    """Ratio of CPU times, of several runs in turns; the model stack would make it 10 and more."""
    info = [sys.executable, str(ROOT / 'tools' / 'retrieval' / 'info.py'), str(gallery)]
    faiss = [sys.executable, '-c', 'import faiss']
    ratio = statistics.median(cpu_seconds(info) / cpu_seconds(faiss) for _ in range(3))
    assert ratio < 4


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
