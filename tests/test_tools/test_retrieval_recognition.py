"""tools/retrieval/classify.py and duplicates.py on a tiny model's gallery."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny_run import CLASSES, call_tool, write_config, write_images

from glsim_mm.search import build_gallery


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A gallery of the training images and a copy of one, with the model that made it."""
    folder = tmp_path_factory.mktemp('recognition_tools')
    images = write_images(folder / 'images')
    config = write_config(folder / 'recognition_tools.py', images)
    torch.manual_seed(0)
    checkpoint = folder / 'weights.pth'
    torch.save({'state_dict': MODELS.build(Config.fromfile(config).model).state_dict()}, checkpoint)
    shutil.copy(images / 'train' / 'plain' / 'plain0.png', images / 'train' / 'plain' / 'copy.png')
    gallery = folder / 'gallery'
    build_gallery(images / 'train', config, checkpoint, gallery, device='cpu', num_workers=0, progress=False)
    return gallery, ['--config', config, '--checkpoint', checkpoint, '--device', 'cpu'], images


def _classify(capsys, built, *options):
    gallery, model, images = built
    call_tool('retrieval/classify', gallery, images / 'val', *model, *options)
    return capsys.readouterr()


def test_classify_prints_a_line_for_each_image(capsys, built):
    lines = _classify(capsys, built).out.splitlines()
    assert len(lines) == 8
    assert all('.png: ' in line and '; votes: ' in line for line in lines)


def test_classify_writes_json(capsys, built):
    answers = json.loads(_classify(capsys, built, '--json', '-k', 3).out)
    assert len(answers) == 8
    assert {answer['label'] for answer in answers} <= set(CLASSES)
    assert all(len(answer['neighbors']) == 3 and 0 < answer['confidence'] <= 1 for answer in answers)


def test_classify_knows_the_galleries_own_images(capsys, built):
    gallery, model, images = built
    path = images / 'train' / 'striped' / 'striped1.png'
    call_tool('retrieval/classify', gallery, path, *model, '-k', 1)
    assert 'striped1.png: striped (1.00); votes: striped 1.00' in capsys.readouterr().out
    doubled = images / 'train' / 'plain' / 'plain0.png'
    call_tool('retrieval/classify', gallery, doubled, *model, '-k', 9, '--exclude-same', '--json')
    assert len(json.loads(capsys.readouterr().out)[0]['neighbors']) == 9 - 2


def test_classify_says_unknown_below_the_threshold_and_falls_back_to_groups(capsys, built, tmp_path):
    answers = json.loads(_classify(capsys, built, '--json', '--threshold', 2.0).out)
    assert all(answer['label'] is None and answer['level'] == -1 for answer in answers)
    table = tmp_path / 'groups.csv'
    table.write_text('class,kind\nplain,patterns\nstriped,patterns\n')
    out = _classify(capsys, built, '--threshold', 2.0, -1.0, '--taxonomy', table).out
    assert all(': group patterns (' in line for line in out.splitlines())


def test_classify_calibrates(capsys, built):
    result = _classify(capsys, built, '--json', '--calibrate', 0.2)
    assert result.err.splitlines()[0].startswith('level 0: threshold ')
    assert 'AUROC' in result.err
    assert len(json.loads(result.out)) == 8


def test_classify_lists_what_it_cannot_read(capsys, built, tmp_path):
    gallery, model, images = built
    (tmp_path / 'broken.png').write_bytes(b'none')
    with pytest.raises(SystemExit) as end:
        call_tool('retrieval/classify', gallery, tmp_path / 'broken.png', *model)
    assert end.value.code == 2
    assert 'broken.png cannot be read' in capsys.readouterr().err


@pytest.mark.parametrize(
    'options, message',
    [
        (['--calibrate', 'best'], 'balanced'),
        (['--taxonomy', 'none.csv'], 'cannot be read'),
        (['--taxonomy-columns', 'genus'], "no column 'genus'"),
        (['-k', '0'], 'argument -k: must be 1 or more'),
        (['--temperature', '0'], 'temperature'),
        (['--threshold', '0.5', '--calibrate', '0.1'], 'either'),
    ],
)
def test_mistakes_are_one_line(capsys, built, options, message):
    with pytest.raises(SystemExit) as end:
        _classify(capsys, built, *options)
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_duplicates_prints_groups(capsys, built):
    call_tool('retrieval/duplicates', built[0])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'equal:'
    assert {line.split('/')[-1].split('  ')[-1] for line in lines[1:3]} == {'copy.png', 'plain0.png'}
    assert lines[-1].startswith('1 groups of equal files with 1 spare copies')


def test_duplicates_finds_similar_images(capsys, built):
    call_tool('retrieval/duplicates', built[0], '--threshold', -1, '--json')
    groups = json.loads(capsys.readouterr().out)
    assert [group['kind'] for group in groups] == ['equal', 'similar']
    assert len(groups[1]['ids']) == 9
    call_tool('retrieval/duplicates', built[0], '--threshold', -1, '--json', '--where', 'label=striped')
    groups = json.loads(capsys.readouterr().out)
    assert [len(group['ids']) for group in groups] == [4]


def test_duplicates_of_no_gallery_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        call_tool('retrieval/duplicates', tmp_path / 'none')
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
