"""Image files that are missing, unreadable or equal."""

from pathlib import Path

import pytest
from image_files import colored_files, unreadable_files, write_files

from glsim_mm.images import image_files
from glsim_mm.images.decoding import NOT_AN_IMAGE
from glsim_mm.images.image_files import (
    UnreadableFile,
    count_shared,
    examine_files,
    find_duplicates,
    find_unreadable,
    image_size,
    missing_files,
)


@pytest.mark.parametrize('workers', [1, 3, None])
def test_every_kind_of_image(tmp_path, workers):
    good = [str(path) for path in write_files(tmp_path, colored_files())]
    bad = [str(path) for path in write_files(tmp_path, unreadable_files())]
    mixed = [path for pair in zip(good, bad) for path in pair] + [str(tmp_path / 'none.jpg')]
    found = find_unreadable(mixed, workers)
    assert [file.path for file in found] == [*bad[: len(good)], str(tmp_path / 'none.jpg')]
    assert all(file.reason and '\n' not in file.reason and '_io' not in file.reason for file in found)
    assert found[-1].reason == 'No such file or directory'


def test_sizes_are_those_of_the_upright_image(tmp_path):
    paths = [str(path) for path in write_files(tmp_path, colored_files())]
    for decode in (False, True):
        facts = examine_files(paths, decode, workers=2)
        assert [one.size for one in facts] == [(40, 24)] * len(paths)
        turned = [Path(path).name for path, one in zip(paths, facts) if one.stored_size != one.size]
        assert turned == ['exif.jpg'] and facts[5].stored_size == (24, 40)
        assert all((one.digest is not None) == (one.look is not None) == decode for one in facts)
    (tmp_path / 'x.jpg').write_bytes(b'')
    assert image_size(str(tmp_path / 'x.jpg')) == UnreadableFile(str(tmp_path / 'x.jpg'), NOT_AN_IMAGE)


def test_duplicates_have_equal_content_not_equal_size(tmp_path):
    files = {'a': b'11', 'b': b'22', 'c': b'11', 'd': b'333', 'e': b'22', 'f': b'11', 'g': b'4'}
    paths = [str(path) for path in write_files(tmp_path, files)] + [str(tmp_path / 'none')] * 2
    groups = [[Path(path).name for path in group] for group in find_duplicates(paths)]
    assert groups == [['a', 'c', 'f'], ['b', 'e']]


def test_missing_files(tmp_path):
    write_files(tmp_path, {'a': b'', 'b': b''})
    paths = [str(tmp_path / name) for name in ('x', 'a', 'sub/a', 'b', 'y')]
    assert missing_files(paths) == [paths[0], paths[2], paths[4]]
    assert missing_files([]) == []


def test_more_files_than_wait_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, '_WINDOW', 3)
    paths = [str(path) for path in write_files(tmp_path, {f'{index}': bytes(1 + index % 2) for index in range(8)})]
    steps = []
    assert [file.path for file in find_unreadable(paths, 2, lambda *step: steps.append(step))] == paths
    assert steps == [(done, 8) for done in range(1, 9)]
    assert find_unreadable([]) == find_duplicates([]) == []


def test_shared_files_are_equal_byte_by_byte(tmp_path):
    long = bytes(1000)
    own = {'a': b'11', 'b': b'22', 'c': b'333', 'd': long + b'1', 'e': b'1' + long}
    other = {'A': b'11', 'B': b'23', 'C': b'333', 'D': long + b'2', 'E': b'2' + long, 'F': b'11'}
    mine, theirs = ([str(path) for path in write_files(tmp_path, files)] for files in (own, other))
    assert count_shared(mine, theirs, 100) == (3, True)
    assert count_shared(mine, [*theirs, mine[1], str(tmp_path / 'none')], 100) == (4, True)
    assert count_shared(mine, theirs, 0) == (0, False)
    assert count_shared([], theirs, 100) == count_shared(mine, [], 100) == (0, True)
