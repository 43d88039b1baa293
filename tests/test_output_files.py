"""Files that tools write: places that are refused, whole files, and lists that grow."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import files_up_to
from tiny_run import ROOT

from glsim_mm.errors import GLSimError, report_user_errors
from glsim_mm.output_files import (
    GrowingJson,
    check_output_file,
    check_output_folder,
    replace_with,
    write_file,
    write_json,
)


@pytest.fixture
def read_only(tmp_path) -> Path:
    """A folder in which nobody may write; permissions do not keep out the user root, the kernel does."""
    if os.geteuid() == 0:
        return Path('/proc')
    (tmp_path / 'read_only').mkdir(mode=0o555)
    return tmp_path / 'read_only'


def test_places_that_can_be_written(tmp_path):
    (tmp_path / 'there').write_text('kept')
    for path in ('there', 'new', 'missing/folders/new'):
        check_output_file(tmp_path / path)
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / 'missing' / 'folder')
    check_output_file('/dev/null')
    assert [path.name for path in tmp_path.iterdir()] == ['there']  # nothing is made, and nothing changed
    assert (tmp_path / 'there').read_text() == 'kept'


def test_places_that_cannot_be_written(tmp_path, read_only):
    (tmp_path / 'file').touch()
    for check in (check_output_file, check_output_folder):
        with pytest.raises(GLSimError, match=r'file/below cannot be written \(.*/file is a file\); choose another'):
            check(tmp_path / 'file' / 'below')
        with pytest.raises(GLSimError, match='cannot be written'):
            check(read_only / 'below' / 'below')
        with pytest.raises(GLSimError, match='File name too long'):
            check(tmp_path / ('n' * 300))
    with pytest.raises(GLSimError, match=r'\(it is a file\)'):
        check_output_folder(tmp_path / 'file')
    with pytest.raises(GLSimError, match=r'\(it is a folder\)'):
        check_output_file(tmp_path)


def test_a_full_disk_leaves_the_older_file(tmp_path):
    path = write_file(tmp_path / 'new' / 'a.txt', 'old \udce9')
    assert path.read_bytes() == b'old \\udce9'
    with files_up_to(1000), pytest.raises(GLSimError, match='a.txt cannot be written .*free some space'):
        write_file(path, bytes(2000))
    assert path.read_bytes() == b'old \\udce9'
    assert os.listdir(path.parent) == ['a.txt']


def test_links_and_pipes_stay_what_they_are(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'file')
    write_json(tmp_path / 'link', [1])
    assert (tmp_path / 'link').is_symlink() and json.loads((tmp_path / 'file').read_text()) == [1]
    replace_with('/dev/null', lambda path: path.write_text('gone'))
    assert not Path('/dev/null').is_file()


def test_a_growing_list_is_whole_after_each_item(tmp_path):
    path = tmp_path / 'new' / 'list.json'
    with GrowingJson(path) as results:
        for number in range(5):
            results.append({'number': number})
            assert json.loads(path.read_text()) == [{'number': past} for past in range(number + 1)]


def test_an_older_list_stays_until_there_is_something_new(tmp_path):
    path = tmp_path / 'list.json'
    path.write_text('["old"]')
    with pytest.raises(ZeroDivisionError), GrowingJson(path):
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == ['old']
    with GrowingJson(path):
        pass
    assert json.loads(path.read_text()) == []


@pytest.mark.parametrize('limit', range(2049, 2055))  # nothing of the second item is written, or a part of it
def test_a_full_disk_keeps_the_list_so_far(limit, tmp_path):
    path = tmp_path / 'list.json'
    with files_up_to(limit), GrowingJson(path) as file:
        file.append('a' * 2042)  # 2049 bytes with brackets, quotes and ends of lines
        with pytest.raises(GLSimError, match='list.json cannot be written'):
            file.append('bc')
    assert json.loads(path.read_text()) == ['a' * 2042]


def test_a_list_through_a_pipe():
    code = (
        'from glsim_mm.output_files import GrowingJson\nwith GrowingJson("/dev/stdout") as f: f.append(1); f.append(2)'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1, 2]


def test_errors_of_the_system_are_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as end, report_user_errors():
        (tmp_path / 'missing' / 'file').write_text('')
    assert end.value.code == 2
    with pytest.raises(SystemExit), report_user_errors():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    first, second = capsys.readouterr().err.splitlines()
    assert first == f'error: {tmp_path}/missing/file: No such file or directory'
    assert second == 'error: No space left on device; free some space'
