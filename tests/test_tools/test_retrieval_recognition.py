"""tools/retrieval/classify.py and duplicates.py on a tiny model's gallery."""

import json
import re
import shutil

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny_run import CLASSES, call_tool, write_config, write_images

from glsim_mm.search import build_gallery
from retrieval.gallery import open_gallery
from retrieval.recognition import decide_duplicates, find_duplicates


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


@pytest.fixture(scope='module')
def tuned(built, tmp_path_factory):
    """The same, tuned."""
    gallery = shutil.copytree(built[0], tmp_path_factory.mktemp('tuned') / 'gallery')
    call_tool('retrieval/classify', gallery, '--tune')
    return gallery, *built[1:]


def test_a_gallery_that_is_not_tuned_names_classes_and_says_how_to_learn_more(capsys, built):
    result = _classify(capsys, built)
    lines = result.out.splitlines()
    assert len(lines) == 8 and all(re.search(r'\.png: (plain|striped) \(\d of 9 neighbours\)$', one) for one in lines)
    assert 'is not tuned' in result.err and 'glsim classify GALLERY --tune' in result.err
    answers = json.loads(_classify(capsys, built, '--json').out)
    assert {one['label'] for one in answers} <= set(CLASSES) and {one['probability'] for one in answers} == {None}


def test_tuning_is_kept_and_answers_have_probabilities(capsys, tuned):
    result = _classify(capsys, tuned)
    assert all('P = ' in line or 'unsure' in line or 'unlike' in line for line in result.out.splitlines())
    assert not re.search('not tuned|was tuned', result.err)
    result = _classify(capsys, tuned, '--json', '--accept', 0.5)
    answers = json.loads(result.out)
    assert len(answers) == 8 and all(0 < one['probability'] <= 1 for one in answers)
    assert {one['verdict'] for one in answers} <= {'accept', 'look', 'unknown'}
    assert 'accepted' in result.err
    call_tool('retrieval/classify', tuned[0], '--tune', '--json', '--accept', 0.5)
    told = json.loads(capsys.readouterr().out)
    assert told['photos'] == 9 and '50% of ' in told['words'] and 0 <= told['measured']['ece'] <= 1


def test_photos_of_one_individual_get_one_answer(capsys, tuned, tmp_path):
    (answer,) = json.loads(_classify(capsys, tuned, '--together', '--json').out)
    assert len(answer['paths']) == 8 and answer['label'] in CLASSES
    table = tmp_path / 'photos.csv'
    photos = sorted((tuned[2] / 'val').glob('*/*.png'))[:3]
    table.write_text('path,observation\n' + ''.join(f'{path},{name}\n' for path, name in zip(photos, ['a', '', 'a'])))
    call_tool('retrieval/classify', tuned[0], table, *tuned[1])
    lines = capsys.readouterr().out.splitlines()
    assert [line.count('.png') for line in lines] == [2, 1]


def test_classify_knows_the_galleries_own_images(capsys, built):
    gallery, model, images = built
    path = images / 'train' / 'striped' / 'striped1.png'
    doubled = images / 'train' / 'plain' / 'plain0.png'
    call_tool('retrieval/classify', gallery, path, doubled, *model, '--exclude-same', '--json')
    assert [len(one['neighbors']) for one in json.loads(capsys.readouterr().out)] == [9 - 1, 9 - 2]


def test_an_uncertain_class_falls_back_to_its_group(capsys, built, tmp_path):
    table = tmp_path / 'groups.csv'
    table.write_text('class,kind\nplain,pattern\nstriped,pattern\n')
    out = _classify(capsys, built, '--taxonomy', table).out
    assert all(': a pattern, unsure which (' in line or ' neighbours)' in line for line in out.splitlines())


def test_classify_lists_what_it_cannot_read(capsys, built, tmp_path):
    gallery, model, images = built
    (tmp_path / 'broken.png').write_bytes(b'none')
    with pytest.raises(SystemExit) as end:
        call_tool('retrieval/classify', gallery, tmp_path / 'broken.png', *model)
    assert end.value.code == 2
    assert 'broken.png cannot be read' in capsys.readouterr().err


@pytest.mark.parametrize(
    'labels, answers, message',
    [
        (
            [None] * 9,
            {'nothing to compare with: no neighbour has a label'},
            'no photo of .* has a label: name some with',
        ),
        (['a'] * 9, {'a (9 of 9 neighbours)'}, 'all photos of .* are of one class, a: add photos of another'),
        (list('abcdefghi'), None, 'no class has photos of two observations, so that none can be left out: add photos'),
        ([*'aaaabbbb', 'c'], None, None),
    ],
)
def test_galleries_with_few_labels_answer_and_say_why_they_cannot_be_tuned(
    capsys, built, tmp_path, labels, answers, message
):
    gallery = shutil.copytree(built[0], tmp_path / 'gallery')
    with open_gallery(gallery, writable=True) as opened:
        opened.set_labels(opened.ids(), labels)
    lines = _classify(capsys, (gallery, *built[1:])).out.splitlines()
    assert len(lines) == 8 and answers in (None, {line.split('.png: ')[1] for line in lines})
    if message is None:
        call_tool('retrieval/classify', gallery, '--tune')
        assert '8 photos of 3 classes were left out in turn; 1 more are alone in their class' in capsys.readouterr().out
        return
    counts = tmp_path / 'counts.csv'
    counts.write_text('class,month,count\na,5,1\n')
    for options in (['--tune'], ['--tune', '--prior', counts]):
        with pytest.raises(SystemExit) as end:
            call_tool('retrieval/classify', gallery, *options)
        assert end.value.code == 2 and re.search(message, capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(
    'options, message',
    [
        (['--accept', '1'], 'from 0 to below 1'),
        (['--accept', 'nan'], 'from 0 to below 1, not nan'),
        (['--accept', '0.9'], 'is not tuned'),
        (['--where', 'label=none', '--tune'], '0 of 9 rows have label=none'),
        (['--taxonomy', 'none.csv'], 'cannot be read'),
        (['--taxonomy-columns', 'genus'], "no column 'genus'"),
    ],
)
def test_mistakes_are_one_line(capsys, built, options, message):
    with pytest.raises(SystemExit) as end:
        _classify(capsys, built, *options)
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_neither_photos_nor_tuning_is_a_mistake(capsys, built):
    with pytest.raises(SystemExit):
        call_tool('retrieval/classify', built[0])
    assert 'name photos, or --tune the gallery' in capsys.readouterr().err


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


def test_duplicates_leaves_out_what_was_decided(capsys, built, tmp_path):
    location = shutil.copytree(built[0], tmp_path / 'gallery')
    with open_gallery(location, writable=True) as gallery:
        (group,) = find_duplicates(gallery)
        ids = [record.id for record in group.records]
        gallery.set_values(ids, decide_duplicates(gallery, ids, 'distinct'))
    for options, listed in ((), 0), (('--decided',), 1):
        call_tool('retrieval/duplicates', location, '--json', *options)
        assert len(json.loads(capsys.readouterr().out)) == listed


def test_duplicates_of_no_gallery_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        call_tool('retrieval/duplicates', tmp_path / 'none')
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
