"""tools/retrieval/classify.py with place and season: counts, EXIF data, tables, options and checklists."""

import json

import pytest
import torch
from image_files import LEEDS, photo_with_exif
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny_run import CLASSES, call_tool, write_config, write_images

from glsim_mm.search import build_gallery

MAY, WRONG = {0x9003: '2024:05:01 12:30:00'}, {0x9003: '2024:13:01 00:00:00'}
HERE, THERE = '53_-2_1', '-34_151_1'  # the cells of Leeds and Sydney


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A gallery of photos of Leeds in May, called plain, and of Sydney in December, called striped; counts, photos."""
    folder = tmp_path_factory.mktemp('prior_tools')
    images = write_images(folder / 'images')
    config = write_config(folder / 'prior_tools.py', images)
    torch.manual_seed(0)
    checkpoint = folder / 'weights.pth'
    torch.save({'state_dict': MODELS.build(Config.fromfile(config).model).state_dict()}, checkpoint)
    places = {'plain': '53.8,-1.5,2024-05-01', 'striped': '-33.9,151.2,2024-12-24'}
    # What photos show tells nothing of their class; where they were taken does.
    labels = [(path, CLASSES[number % 2]) for number, path in enumerate(sorted(images.glob('*/*/*.png')))]
    lines = [f'{path},{label},{places[label]}\n' for path, label in labels]
    (folder / 'table.csv').write_text('path,label,latitude,longitude,taken\n' + ''.join(lines))
    gallery = folder / 'gallery'
    build_gallery(folder / 'table.csv', config, checkpoint, gallery, device='cpu', num_workers=0, progress=False)
    counts = folder / 'counts.csv'
    rows = [('Plain', HERE, 5, 900), ('striped', HERE, 5, 100), ('Plain', THERE, 12, 100), ('striped', THERE, 12, 900)]
    lines = [','.join(map(str, row)) + '\n' for row in [*rows, ('Wren', HERE, 5, 900)]]
    counts.write_text('class,cell,month,count\n' + ''.join(lines))
    photos = folder / 'photos'
    photos.mkdir()
    for name, blocks in {
        'told': (None, MAY, LEEDS),
        'untold': (),
        'wrong': (None, WRONG, {**LEEDS, 2: (99.0,)}),
    }.items():
        (photos / f'{name}.jpg').write_bytes(photo_with_exif(*blocks))
    return gallery, ['--config', config, '--checkpoint', checkpoint, '--device', 'cpu'], counts, photos


def _classify(capsys, built, *options, photos=None):
    call_tool('retrieval/classify', built[0], built[3] if photos is None else photos, *built[1], *options)
    return capsys.readouterr()


def test_places_and_dates_of_exif_data_count(capsys, built):
    result = _classify(capsys, built, '--prior', built[2])
    told, untold, wrong = result.out.splitlines()
    assert 'told.jpg: plain' in told and '; place and month raised it from ' in told
    assert untold.endswith('; without place and month: no place and no date is known')
    assert wrong.endswith('; without place and month: no place and no date is known')
    assert "not used: wrong.jpg: date: '2024:13:01 00:00:00' is no date" in result.err.replace(str(built[3]) + '/', '')
    assert (
        'latitude 99' in result.err and 'was not tuned, so it counts fully: glsim classify GALLERY --tune' in result.err
    )
    answers = json.loads(_classify(capsys, built, '--prior', built[2], '--json').out)
    prior = answers[0]['prior']
    assert (prior['used'], prior['cell'], prior['month'], prior['reason']) == ('place and month', HERE, 5, '')
    assert {one['label'] for one in prior['without']} == set(CLASSES) and answers[1]['prior']['used'] == ''


def test_weight_0_prints_what_is_printed_without(capsys, built):
    for options in ([], ['--json'], ['--together']):
        expected = _classify(capsys, built, *options)
        zero = _classify(capsys, built, '--prior', built[2], '--prior-weight', 0, *options)
        assert zero.out == expected.out


def test_the_command_line_and_tables_tell_places_and_dates(capsys, built, tmp_path):
    sydney = ['--where-taken', -33.9, 151.2, '--when', '2020-12']
    told, untold, _ = json.loads(_classify(capsys, built, '--prior', built[2], '--json', *sydney).out)
    assert told['label'] == untold['label'] == 'striped'
    assert (told['prior']['cell'], told['prior']['month']) == (THERE, 12)
    (answer, *_) = json.loads(_classify(capsys, built, '--prior', built[2], '--json', *sydney[:3]).out)
    assert (answer['prior']['cell'], answer['prior']['month']) == (THERE, 5)  # the date is that of the photo
    table = tmp_path / 'photos.csv'
    table.write_text(
        'path,Latitude,Longitude,Taken\n'
        f'{built[3] / "told.jpg"},-33.9,151.2,2020-12-01\n{built[3] / "untold.jpg"},95,0,last spring\n'
    )
    result = _classify(capsys, built, '--prior', built[2], '--json', photos=table)
    first, second = json.loads(result.out)
    assert (first['prior']['cell'], first['prior']['month'], first['label']) == (THERE, 12, 'striped')
    assert second['prior']['used'] == ''
    assert 'latitude 95.0 is not a number' in result.err and 'last spring is no date' in result.err


def test_tuning_with_counts_is_kept(capsys, built, tmp_path):
    call_tool('retrieval/classify', built[0], '--tune', '--prior', built[2], '--json')
    tuned = json.loads(capsys.readouterr().out)
    assert tuned['prior']['photos'] == 16 and tuned['prior']['weight'] > 0.5
    assert tuned['prior']['measured']['log_loss'] < tuned['prior']['measured']['photo_log_loss']
    assert 'Of 16 photos with a place or date' in tuned['words']
    result = _classify(capsys, built, '--prior', built[2], '--accept', 0.5)
    assert 'not tuned' not in result.err and 'photos with a place or date' in result.err
    assert 'told.jpg: accept: plain' in result.out and 'untold.jpg: look: ' in result.out
    result = _classify(capsys, built, '--prior', built[2], '--only', _write(tmp_path, '# here\n\nSTRIPED\nWren\n'))
    assert 'plain' not in result.out and '1 of 2 names on the checklist are no classes' in result.err


def _write(folder, text):
    (folder / 'list.txt').write_text(text)
    return folder / 'list.txt'


@pytest.mark.parametrize(
    'options, message',
    [
        (['--when', '2024-05-01'], 'go with --prior'),
        (['--prior', 'COUNTS', '--prior-weight', '-1'], '--prior-weight is 0 or more'),
        (['--prior', 'COUNTS', '--prior-weight', 'nan'], '--prior-weight is 0 or more'),
        (['--prior', 'COUNTS', '--when', '2024-02-30'], '2024-02-30 is no date: write it as 2024-05-01'),
        (['--prior', 'COUNTS', '--where-taken', '91', '0'], 'latitude 91.0 is not a number from -90 to 90'),
        (['--prior', 'COUNTS', '--where-taken', 'nan', '0'], 'latitude nan is not a number'),
        (['--prior', 'none.csv'], 'none.csv cannot be read'),
        (['--prior', 'LIST'], 'must have a header with class, count'),
        (['--prior', 'COUNTS', '--only', 'none.txt'], 'none.txt cannot be read'),
        (['--only', 'EMPTY'], 'names no class'),
        (['--only', 'LIST'], "no name on the checklist, such as 'Wren', is a class of the gallery"),
    ],
)
def test_mistakes_are_one_line(capsys, built, tmp_path, options, message):
    (tmp_path / 'empty.txt').write_text('# none\n')
    files = {'COUNTS': built[2], 'LIST': _write(tmp_path, 'Wren\n'), 'EMPTY': tmp_path / 'empty.txt'}
    with pytest.raises(SystemExit) as end:
        _classify(capsys, built, *(files.get(one, one) for one in options))
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
