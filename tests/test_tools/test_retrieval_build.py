"""The command lines that encode images into a gallery."""

from pathlib import Path

import numpy as np
import pytest
from fresh_processes import run_tool_in_ranks
from PIL import Image
from tiny_run import ROOT, call_tool, run_command

from glsim_mm.search import Encoder, build_gallery
from glsim_mm.search.shards import ShardSettings, add_to_shard, open_shard
from retrieval.gallery import open_gallery


def build(*arguments: object) -> None:
    call_tool('retrieval/build', *arguments, '--device', 'cpu', '--num-workers', 0)


def add(*arguments: object) -> None:
    call_tool('retrieval/add', *arguments, '--device', 'cpu', '--num-workers', 0)


def test_build_and_add(model_files, tmp_path, capsys):
    config, checkpoint, images = model_files
    build(images, config, checkpoint, '--out', tmp_path / 'gallery', '--spaces', 'crop', 'global')
    captured = capsys.readouterr()
    lines = captured.out.splitlines()[-5:]
    assert lines[0] == f'gallery: {tmp_path / "gallery"}'
    assert lines[1].startswith('images: 8 in the gallery, 8 encoded now (') and 'images/s' in lines[1]
    assert lines[2] == 'spaces: crop (32), global (32)' and lines[3].startswith('index: ')
    assert lines[4] == 'searched by default: crop, the first'
    assert 'encoding: 8 of 8 images' in captured.err and ' images/s' in captured.err

    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(tmp_path / 'new.png')
    (tmp_path / 'broken.png').write_bytes(b'no image')
    add(tmp_path / 'gallery', images, tmp_path / 'new.png', tmp_path / 'broken.png', '--no-progress')
    captured = capsys.readouterr()
    assert 'images: 9 in the gallery, 1 encoded now' in captured.out and '8 encoded before' in captured.out
    assert 'unreadable: 1, left out' in captured.out and 'broken.png: ' in captured.out
    search = ROOT / 'tools' / 'retrieval' / 'search.py'
    assert captured.err == f'next: python {search} gallery PHOTO.jpg\n'


def test_options(model_files, tmp_path, capsys):
    config, checkpoint, images = model_files
    options = [
        '--keep-patches',
        '--whiten',
        3,
        '--preset',
        'flat',
        '--metric',
        'l2',
        '--no-progress',
        '--batch-size',
        3,
    ]
    build(config, checkpoint, '--out', tmp_path / 'gallery', '--dataset', 'test', *options)
    with open_gallery(tmp_path / 'gallery') as gallery:
        ids = gallery.ids()
        assert gallery.patches(ids).shape == (8, 3, 32)
        assert set(gallery.manifest.spaces.values()) == {3} and gallery.manifest.metric == 'l2'
        assert {record.split for record in gallery.records(ids)} == {'test'}
    assert 'index: flat' in capsys.readouterr().out


def test_overrides_of_the_config(model_files, tmp_path):
    config, checkpoint, images = model_files
    arguments = [images, config, checkpoint, '--out', tmp_path / 'gallery', '--keep-patches']
    build(*arguments, '--cfg-options', 'model.neck.top_o=2')
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert gallery.patches(gallery.ids()).shape[1] == 2


@pytest.mark.parametrize(
    'arguments,message',
    [
        (['nowhere', 'CONFIG', 'CHECKPOINT', '--out', 'gallery'], 'error: nowhere does not exist'),
        (['IMAGES', 'nowhere.py', 'CHECKPOINT', '--out', 'gallery'], 'nowhere.py does not exist'),
        (['IMAGES', 'CONFIG', 'nowhere.pth', '--out', 'gallery'], 'nowhere.pth does not exist'),
        (['IMAGES', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--spaces', 'head'], 'spaces must be some of'),
        (['IMAGES', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--whiten', '99'], '1 to 32 dimensions'),
        (['CONFIG', 'CHECKPOINT', '--out', 'gallery'], 'give either images, --dataset or --from'),
        (
            ['IMAGES', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--whiten', '3', '--metric-from', 'labels'],
            'either --whiten or --metric-from',
        ),
        (
            ['IMAGES', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--dataset', 'test'],
            'give either images, --dataset or --from',
        ),
        (['IMAGES', 'CONFIG', 'CHECKPOINT', '--out', 'gallery', '--memory-limit', '0'], 'more than 0'),
        (['IMAGES', 'CONFIG', 'CHECKPOINT'], '--out'),
    ],
)
def test_mistakes_end_in_one_line(model_files, capsys, arguments, message):
    names = dict(zip(('CONFIG', 'CHECKPOINT', 'IMAGES'), model_files))
    with pytest.raises(SystemExit) as error:
        build(*(names.get(argument, argument) for argument in arguments))
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path('gallery').exists() and not Path('gallery.parts').exists()


def test_a_gallery_that_is_there(model_files, tmp_path, capsys):
    arguments = [model_files[2], *model_files[:2], '--out', 'gallery', '--no-progress']
    build(*arguments)
    with pytest.raises(SystemExit):
        build(*arguments)
    assert 'add images to it with glsim add, replace it with --overwrite' in capsys.readouterr().err
    build(*arguments, '--overwrite')


def leave_shard(paths: list[Path], config: Path, checkpoint: Path, folder: Path) -> None:
    encoder = Encoder(config, checkpoint, device='cpu')
    settings = ShardSettings(encoder.dimensions, 'cosine', encoder.fingerprint)
    folder.mkdir()
    with open_shard(folder, 2, settings) as shard:
        add_to_shard(shard, encoder.encode(paths))


@pytest.mark.slow
def test_several_processes_go_on_where_another_number_stopped(model_files, tmp_path, port):
    config, checkpoint, images = model_files
    options = dict(device='cpu', num_workers=0, progress=False)
    # What three processes would leave, the third of which alone has done its share.
    leave_shard(sorted(images.rglob('*.png'))[:4], config, checkpoint, tmp_path / 'gallery.parts')

    command = ['retrieval/build', images, config, checkpoint, '--out', tmp_path / 'gallery']
    results = run_tool_in_ranks(*command, '--device', 'cpu', '--num-workers', 1, cwd=tmp_path, port=port)
    assert [result.returncode for result in results] == [0, 0], results
    printed = ''.join(result.stdout for result in results)
    assert 'images: 8 in the gallery, 4 encoded now' in printed and '4 encoded before' in printed
    assert printed.count('gallery: ') == 1
    build_gallery(images, config, checkpoint, tmp_path / 'expected', **options)
    with open_gallery(tmp_path / 'gallery') as gallery, open_gallery(tmp_path / 'expected') as expected:
        ids = gallery.ids()
        assert ids.tolist() == expected.ids().tolist()
        assert [record.path for record in gallery.records(ids)] == [record.path for record in expected.records(ids)]
        for space in gallery.manifest.spaces:
            np.testing.assert_allclose(gallery.vectors(ids, space), expected.vectors(ids, space), atol=1e-4)
    assert not (tmp_path / 'gallery.parts').exists()


def test_dist_encode_says_how_to_be_used(tmp_path):
    result = run_command('bash', ROOT / 'tools' / 'dist_encode.sh', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('usage: ') and len(result.stderr.splitlines()) == 1


def test_benchmark(model_files, capsys):
    config, checkpoint, images = model_files
    arguments = [config, checkpoint, images, '--batch-size', 2, '--num-workers', 0, '--rounds', 2, '--device', 'cpu']
    call_tool('retrieval/benchmark_encoding', *arguments)
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].startswith('round 1: model alone ') and lines[2].startswith('median: ')
    with pytest.raises(SystemExit):
        call_tool('retrieval/benchmark_encoding', *arguments[:3], '--device', 'cpu')
    assert 'less than three batches of 32' in capsys.readouterr().err
