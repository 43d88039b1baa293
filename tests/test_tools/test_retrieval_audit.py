"""tools/retrieval/audit.py and classes.py on photos of plain colours, some of them with wrong labels."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from tiny_run import call_tool

from retrieval.gallery import Record, create_gallery, open_gallery

COLOURS = {'001.Red_bird': (250, 20, 20), '002.Green_bird': (20, 250, 20), '003.Blue_bird': (20, 20, 250)}
NAMES = list(COLOURS)
WRONG = {2: '003.Blue_bird', 13: '001.Red_bird'}


@pytest.fixture
def gallery(tmp_path):
    """Eight photos of each colour, whose embeddings are their colours; two labels are wrong, two files are one."""
    random = np.random.default_rng(0)
    rows, told = [], []
    for number, (name, colour) in enumerate(COLOURS.items()):
        for place in range(8):
            row = 8 * number + place
            shade = np.clip(np.array(colour) + random.integers(-20, 20, 3), 0, 255)
            path = f'{row}.jpg'
            Image.fromarray(np.full((24, 32, 3), shade, np.uint8)).save(tmp_path / path)
            rows.append(shade / 255)
            told.append(Record(path, WRONG.get(row, name), 'test' if row == 7 else 'train', content_hash=f'h{row}'))
    told[7].content_hash = 'h6'
    rows[7] = rows[6]
    with create_gallery(tmp_path / 'birds', 3, preset='flat', origin={'root': str(tmp_path)}) as made:
        made.add(np.array(rows, np.float32), told)
    return tmp_path / 'birds'


def test_what_was_found_is_told_and_its_table_corrects_the_labels(gallery, capsys, monkeypatch):
    call_tool('retrieval/audit', gallery, '--threshold', 2, '--out', 'audit.html', 'audit.json', 'labels.csv')
    printed, told = capsys.readouterr()
    assert '24 photos, 24 with a label, 3 classes. The rest of the gallery agrees with 91.7%' in printed
    assert '2 labels are doubtful (8.3%):' in printed
    assert re.search(r'id 2  2\.jpg: labelled Blue bird, but looks like Red bird: \d of its 10 nearest', printed)
    assert 'the same file, but another split: id 6  6.jpg (train); id 7  7.jpg (test)' in printed
    assert 'nan' not in printed.lower()
    assert 'written: audit.html, audit.json, labels.csv' in told and told.endswith('--table labels.csv --dry-run\n')
    found = json.load(open('audit.json'))
    assert {one['id']: (one['label'], one['suggestions'][0]['label']) for one in found['suspects']} == {
        2: ('003.Blue_bird', '001.Red_bird'),
        13: ('001.Red_bird', '002.Green_bird'),
    }
    assert found['conflicts'][0]['differ'] == ['split'] and found['conflicts'][0]['rows'][1]['path'] == '7.jpg'
    page = open('audit.html').read()
    assert '<h2>Doubtful labels <small>2, the most doubtful first</small></h2>' in page
    assert page.count('<h2>') == 2 and page.count('this one, labelled') == 4 and 'Blue bird, or Red bird?' in page
    assert '(cannot be read)' not in page and 'nan' not in re.sub('base64,[^"]*', '', page).lower()
    # Each photo is on the page once.
    assert page.count('data:image') == len(set(re.findall(r'<use href="#(p\d+)"', page)))
    assert {row['id']: row['label'] for row in csv.DictReader(open('labels.csv'))} == {
        '2': '001.Red_bird',
        '13': '002.Green_bird',
    }
    call_tool('retrieval/label', gallery, '--table', 'labels.csv')
    assert '2 rows: label (2)' in capsys.readouterr().out
    with open_gallery(gallery) as reader:
        assert reader.column('label')[1] == [name for name in NAMES for _ in range(8)]
    call_tool('retrieval/audit', gallery, '--threshold', 2)
    printed, told = capsys.readouterr()
    assert 'No label is doubtful.' in printed and '1 group of copies differs in label or split:' in printed
    assert told.endswith('--out audit.html labels.csv\n')


def test_a_guide_to_the_classes(gallery, capsys):
    call_tool('retrieval/classes', gallery, '--out', 'classes.html', 'classes.json', '--nearest', 1, '--prototypes', 2)
    printed, told = capsys.readouterr()
    assert 'Red bird: 8 photos, 88% recognised when left out' in printed  # but for one whose label is wrong
    assert '  like Green bird: similarity 0.31, 12% of the photos are taken for it' in printed
    assert 'written: classes.html, classes.json' in told and 'audit.py' in told
    guide = json.load(open('classes.json'))
    assert [entry['name'] for entry in guide] == ['Red bird', 'Green bird', 'Blue bird']
    for entry in guide:
        assert len(entry['prototypes']) == 2 and len(entry['nearest']) == 1
        assert [photo['path'] for photo in entry['prototypes']] == [f'{one["id"]}.jpg' for one in entry['prototypes']]
    page = open('classes.html').read()
    assert page.count('<h2>') == 3 and page.count('<strong>typical</strong>') == 6 and page.count('<h3>Like ') == 3
    call_tool('retrieval/classes', gallery, '--label', '001.Red_bird')
    printed, told = capsys.readouterr()
    assert printed.count('recognised') == 1 and told.endswith('--out classes.html\n')


def test_how_well_wrong_labels_would_be_found(gallery, capsys):
    call_tool('retrieval/audit', gallery, '--noise-test', 0.1, '--look-alike', '--where', 'id!=2', '--where', 'id!=13')
    printed, told = capsys.readouterr()
    assert '10% of 22 labels were changed to one of the three most similar classes, 5 times: AUROC ' in printed
    assert float(re.search(r'AUROC ([\d.]+)', printed)[1]) > 0.9
    with open_gallery(gallery) as reader:
        assert reader.column('label')[1].count('003.Blue_bird') == 9 and not reader.history()


@pytest.mark.parametrize(
    'options, message',
    [
        (('audit', '--out', 'a.txt'), '--out a.txt: the name must end in .html or .json or .csv'),
        (('audit', '--look-alike'), '--look-alike goes with --noise-test'),
        (('audit', '--noise-test', '0.1', '--out', 'a.csv'), '--noise-test writes no files'),
        (('audit', '--noise-test', '1.5'), 'is above 0 and below 1, not 1.5'),
        (('audit', '--noise-test', '0.001'), '0% of the 24 labels that can be checked are 0'),
        (('audit', '--space', 'best'), "no space 'best'"),
        (('audit', '--where', 'label=Wren'), '0 of 24 rows have label=Wren'),
        (('audit', '--root', 'nowhere'), 'folder nowhere does not exist'),
        (('classes', '--label', 'Wren'), '0 of 24 rows have label=Wren'),
        (('classes', '--out', 'a.csv'), '--out a.csv: the name must end in .html or .json'),
    ],
)
def test_mistakes_are_one_line(gallery, capsys, options, message):
    name, *rest = options
    with pytest.raises(SystemExit) as end:
        call_tool(f'retrieval/{name}', gallery, *rest)
    assert end.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
