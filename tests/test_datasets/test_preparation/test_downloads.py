"""Downloads from a server that breaks off, ignores ranges, refuses, redirects or lies."""

import hashlib
from pathlib import Path

import pytest
from file_server import file_server

from glsim_mm.datasets.preparation.downloads import download, mismatch
from glsim_mm.errors import GLSimError

CONTENT = bytes(range(256)) * 4000
MD5 = f'md5:{hashlib.md5(CONTENT).hexdigest()}'
SHA256 = f'sha256:{hashlib.sha256(CONTENT).hexdigest()}'


def fetch(server, path: Path, **options) -> Path:
    return download(f'{server.url}/data.bin', path, **{'pause': 0.01, 'timeout': 10, **options})


def is_alone(path: Path) -> bool:
    return [other.name for other in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize('checksum', [MD5, SHA256.upper().replace('SHA', 'sha'), None])
def test_plain(tmp_path, checksum):
    steps = []
    with file_server(files={'data.bin': CONTENT}) as server:
        path = fetch(
            server,
            tmp_path / 'a' / 'data.bin',
            checksum=checksum,
            size=len(CONTENT),
            progress=lambda *s: steps.append(s),
        )
    assert path.read_bytes() == CONTENT
    assert is_alone(path)
    assert server.requests == [None]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_goes_on_after_interruptions(tmp_path):
    with file_server(files={'data.bin': CONTENT}, cuts=[1000, 5000]) as server:
        path = fetch(server, tmp_path / 'data.bin', checksum=MD5)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, 'bytes=1000-', 'bytes=6000-']


def test_many_interruptions_with_progress_are_not_too_many(tmp_path):
    with file_server(files={'data.bin': CONTENT}, cuts=[1000] * 6) as server:
        path = fetch(server, tmp_path / 'data.bin', checksum=MD5, attempts=2, pause=0)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 7


def test_a_later_run_goes_on(tmp_path):
    path = tmp_path / 'data.bin'
    with file_server(files={'data.bin': CONTENT}, cuts=[7000, 0, 0, 0]) as server:
        with pytest.raises(GLSimError, match=r'data\.bin cannot be downloaded \(the connection ended after') as raised:
            fetch(server, path, attempts=2, pause=0)
    assert not path.exists() and (tmp_path / 'data.bin.part').stat().st_size == 7000
    assert str(tmp_path / 'data.bin.part') in str(raised.value)
    with file_server(files={'data.bin': CONTENT}) as server:
        fetch(server, path, checksum=MD5)
    assert server.requests == ['bytes=7000-']
    assert path.read_bytes() == CONTENT and is_alone(path)


def test_server_that_ignores_ranges_sends_all_again(tmp_path):
    with file_server(files={'data.bin': CONTENT}, cuts=[3000], ranges=False) as server:
        path = fetch(server, tmp_path / 'data.bin')
    assert server.requests == [None, 'bytes=3000-']
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize('size', [None, len(CONTENT)])
def test_a_complete_part_is_only_checked(tmp_path, size):
    (tmp_path / 'data.bin.part').write_bytes(CONTENT)
    with file_server(files={'data.bin': CONTENT}) as server:
        path = fetch(server, tmp_path / 'data.bin', checksum=MD5, size=size)
    assert path.read_bytes() == CONTENT
    assert server.requests == ([f'bytes={len(CONTENT)}-'] if size is None else [])


@pytest.mark.parametrize(
    'size, old', [(None, b'x' * 500), (None, CONTENT + b'more'), (len(CONTENT), CONTENT + b'more')]
)
def test_a_part_of_another_file_is_thrown_away(tmp_path, size, old):
    (tmp_path / 'data.bin.part').write_bytes(old)
    with file_server(files={'data.bin': CONTENT}) as server:
        path = fetch(server, tmp_path / 'data.bin', checksum=SHA256, size=size)
    assert path.read_bytes() == CONTENT and is_alone(path)


@pytest.mark.parametrize(
    'expected, words',
    [(dict(checksum='md5:' + '0' * 32), 'has the md5'), (dict(size=5), 'has 1,024,000 bytes, not 5')],
)
def test_another_file_than_published_gets_no_name(tmp_path, expected, words):
    with file_server(files={'data.bin': CONTENT}) as server:
        with pytest.raises(GLSimError, match=words):
            fetch(server, tmp_path / 'data.bin', **expected)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_a_wrong_file_keeps_the_old_one(tmp_path):
    (tmp_path / 'data.bin').write_text('old')
    with file_server(files={'data.bin': CONTENT}) as server, pytest.raises(GLSimError):
        fetch(server, tmp_path / 'data.bin', size=5)
    assert (tmp_path / 'data.bin').read_text() == 'old'


def test_not_found_is_told_at_once(tmp_path):
    with file_server() as server, pytest.raises(GLSimError, match=r'the server answers 404 \(Not Found\)'):
        fetch(server, tmp_path / 'data.bin')
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again(tmp_path):
    with file_server(files={'data.bin': CONTENT}, status=[503, 500]) as server:
        assert fetch(server, tmp_path / 'data.bin').read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_nobody_listens(tmp_path):
    with file_server() as server:
        pass
    with pytest.raises(GLSimError, match=r'\(\[Errno \d+\] [^<>]+\); run it again, nothing has come yet'):
        fetch(server, tmp_path / 'data.bin', attempts=2)


@pytest.mark.parametrize('url', ['ftp://host/x', '', '/etc/passwd'])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(GLSimError, match='none of the schemes https, http, file'):
        download(url, tmp_path / 'x')
    assert list(tmp_path.iterdir()) == []


def test_local_files(tmp_path):
    source = tmp_path / 'source.bin'
    source.write_bytes(CONTENT)
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / 'y.part').write_bytes(b'old')
    assert download(source.as_uri(), tmp_path / 'x' / 'y', MD5).read_bytes() == CONTENT
    with pytest.raises(GLSimError, match='check the path'):
        download((tmp_path / 'none').as_uri(), tmp_path / 'z')


def test_redirects_lead_to_the_web_only(tmp_path):
    secret = tmp_path / 'secret'
    secret.write_text('secret')
    with file_server(files={'other.bin': CONTENT}) as server:
        server.redirects['data.bin'] = f'{server.url}/other.bin'
        assert fetch(server, tmp_path / 'good').read_bytes() == CONTENT
        for elsewhere in (secret.as_uri(), 'ftp://127.0.0.1/secret'):
            server.redirects['data.bin'] = elsewhere
            with pytest.raises(GLSimError, match=r'redirects to ftp|is not allowed'):
                fetch(server, tmp_path / 'bad')
    assert not (tmp_path / 'bad').exists()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(GLSimError, match='cannot be written'):
        download('http://127.0.0.1:1/x', tmp_path / 'file' / 'x')


def test_checksums(tmp_path):
    path = tmp_path / 'x'
    path.write_bytes(CONTENT)
    assert mismatch(path) is mismatch(path, MD5) is mismatch(path, SHA256, len(CONTENT)) is None
    assert mismatch(path, 'sha256:12').endswith('not 12')
