"""The command line that lets a gallery follow its photos, with a real model."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_run import ROOT, call_tool

from retrieval.gallery import create_gallery, open_gallery

OPTIONS = ('--device', 'cpu', '--num-workers', 0, '--no-progress')


def rows(gallery) -> dict[str, tuple[int, str | None]]:
    with open_gallery(gallery) as opened:
        return {one.path: (one.id, one.label) for one in opened.records(opened.ids())}


@pytest.fixture
def photos(model_files, tmp_path):
    return shutil.copytree(model_files[2], tmp_path / 'photos')


@pytest.fixture
def gallery(model_files, photos, tmp_path):
    call_tool('retrieval/build', photos, *model_files[:2], '--out', tmp_path / 'gallery', *OPTIONS, '--exclude', 'not')
    return tmp_path / 'gallery'


def test_sync(gallery, photos, capsys):
    before = rows(gallery)
    (photos / 'plain' / 'plain0.png').rename(photos / 'striped' / 'moved.png')
    (photos / 'plain' / 'plain1.png').unlink()
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(photos / 'plain' / 'plain2.png')
    Image.fromarray(np.full((40, 30, 3), 9, np.uint8)).save(photos / 'new.png')
    (photos / 'not').mkdir()  # what the build left out stays out
    Image.fromarray(np.full((40, 30, 3), 19, np.uint8)).save(photos / 'not' / 'this.png')
    capsys.readouterr()
    call_tool('retrieval/sync', gallery, '--dry-run', '--report', 'plan.json', *OPTIONS)
    planned = capsys.readouterr().out.splitlines()
    assert rows(gallery) == before
    assert planned == [
        f'gallery: {gallery}',
        'photos: 8 in photos; 5 rows as they were',
        'moved: 1, 1 of them to another class',
        '  plain/plain0.png -> striped/moved.png (plain -> striped)',
        'added: 1',
        '  new.png',
        'changed: 1, encoded anew',
        '  plain/plain2.png',
        'removed: 1',
        '  plain/plain1.png: its photo is gone',
        'left out: 1 excluded (not)',
        'nothing was changed: this was a dry run',
    ]
    plan = json.load(open('plan.json'))
    assert [one['path'] for one in plan['moved']] == ['striped/moved.png'] and plan['dry_run']

    call_tool('retrieval/sync', gallery, *OPTIONS)
    done = capsys.readouterr().out.splitlines()
    assert done[2:] == [
        'moved: 1, 1 of them to another class',
        'added: 1, 1 of them encoded',
        'changed: 1, encoded anew',
        'removed: 1',
        'left out: 1 excluded (not)',
    ]
    after = rows(gallery)
    assert after['striped/moved.png'] == (before['plain/plain0.png'][0], 'striped')
    assert after['plain/plain2.png'] == before['plain/plain2.png'] and after['new.png'][1] is None
    assert 'plain/plain1.png' not in after and len(after) == 8
    call_tool('retrieval/sync', gallery, photos, *OPTIONS)
    assert capsys.readouterr().out.splitlines()[-1] == 'nothing to do'


@pytest.mark.slow
def test_following_moves_loads_no_model(gallery, photos, tmp_path):
    (photos / 'plain' / 'plain0.png').rename(photos / 'striped' / 'moved.png')
    code = (
        'import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__"); '
        'assert not {"torch", "mmengine", "mmpretrain"} & sys.modules.keys()'
    )
    tool = ROOT / 'tools' / 'retrieval' / 'sync.py'
    result = subprocess.run([sys.executable, '-c', code, tool, gallery, photos], capture_output=True, text=True)
    assert result.returncode == 0 and 'moved: 1, 1 of them to another class' in result.stdout, result.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, 'SIGINT') or sys.platform == 'win32', reason='sends Ctrl-C')
def test_watch_until_ctrl_c(gallery, photos, tmp_path):
    command = [sys.executable, ROOT / 'tools' / 'retrieval' / 'sync.py', gallery, '--watch', '--settle', '0', *OPTIONS]
    with subprocess.Popen(
        [str(one) for one in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        lines = iter(run.stdout)
        assert 'nothing to do\n' in lines
        Image.fromarray(np.full((40, 30, 3), 9, np.uint8)).save(tmp_path / 'new.png')
        (tmp_path / 'new.png').rename(photos / 'plain' / 'new.png')
        assert 'added: 1, 1 of them encoded\n' in lines
        (photos / 'plain' / 'new.png').rename(photos / 'striped' / 'new.png')
        assert 'moved: 1, 1 of them to another class\n' in lines
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130 and 'stopped; the same command goes on from here' in run.stderr.read()
    assert rows(gallery)['striped/new.png'][1] == 'striped'


@pytest.mark.parametrize(
    'arguments,message',
    [
        (['gallery'], 'does not say of which folder or table it was built: give it'),
        (['gallery', 'nowhere'], 'nowhere is not there; nothing was changed: mount its disk, or correct the path'),
        (['gallery', 'empty'], 'there is no image in'),
        (['gallery', 'empty', '--exclude', ''], 'excludes nothing'),
        (['gallery', '--watch', '--dry-run'], '--watch goes with neither --dry-run nor --report'),
        (['gallery', '--poll', '0'], '--settle must be 0 or more, --poll more than 0'),
        (['nowhere', 'empty'], 'there is no gallery at nowhere'),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, capsys, arguments, message):
    create_gallery(tmp_path / 'gallery', 8).close()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit) as error:
        call_tool('retrieval/sync', *arguments)
    assert error.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_photos_but_no_model(tmp_path, capsys):
    create_gallery(tmp_path / 'gallery', 8).close()
    (tmp_path / 'photos').mkdir()
    Image.fromarray(np.full((40, 30, 3), 9, np.uint8)).save(tmp_path / 'photos' / '1.png')
    with pytest.raises(SystemExit):
        call_tool('retrieval/sync', 'gallery', 'photos')
    assert 'does not say which model made it: give --config and --checkpoint' in capsys.readouterr().err


def test_a_table_is_remembered(model_files, photos, capsys):
    (photos / 'birds.csv').write_text('path,label,code\nplain/plain0.png,Wren,0012\nplain/plain1.png,Robin,0013\n')
    call_tool('retrieval/build', photos / 'birds.csv', *model_files[:2], '--out', 'gallery', *OPTIONS)
    (photos / 'plain' / 'plain0.png').rename(photos / 'wren.png')
    (photos / 'birds.csv').write_text('path,label,code\nwren.png,Wren,12\n')  # of text, like the codes before
    capsys.readouterr()
    call_tool('retrieval/sync', 'gallery', *OPTIONS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == 'photos: 1 in birds.csv; 0 rows as they were' and lines[2] == 'moved: 1'
    assert lines[3:] == [
        'kept, not in the folders any more: 1 (see --missing)',
        '  plain/plain1.png: not listed any more',
    ]
    call_tool('retrieval/sync', 'gallery', '--missing', 'remove', *OPTIONS)
    with open_gallery('gallery') as opened:
        (record,) = opened.records(opened.ids())
    assert (record.path, record.label, record.metadata) == ('wren.png', 'Wren', {'code': '12'})


def test_a_table_in_another_folder_owns_its_photos(model_files, photos, tmp_path, capsys):
    """Photos that it names no more are noticed, also if those that are left share a deeper folder."""
    names = ['plain/plain0.png', 'plain/plain1.png', 'striped/striped0.png', 'striped/striped1.png']
    table = tmp_path / 'lists' / 'birds.csv'
    table.parent.mkdir()
    table.write_text('\n'.join(['path', *(f'../{photos.name}/{name}' for name in names)]))
    call_tool('retrieval/build', table, *model_files[:2], '--out', 'gallery', *OPTIONS)
    table.write_text(f'path\n../{photos.name}/plain/plain0.png\n')
    (photos / 'striped' / 'striped0.png').unlink()
    capsys.readouterr()
    call_tool('retrieval/sync', 'gallery', *OPTIONS)
    assert capsys.readouterr().out.splitlines()[1:] == [
        'photos: 1 in birds.csv; 1 rows as they were',
        'removed: 1',
        'kept, not in the folders any more: 2 (see --missing)',
        '  photos:plain/plain1.png: not listed any more',
        '  photos:striped/striped1.png: not listed any more',
    ]
    call_tool('retrieval/sync', 'gallery', '--missing', 'remove', *OPTIONS)
    assert list(rows('gallery')) == ['photos:plain/plain0.png']
