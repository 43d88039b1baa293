"""Downloads that resume after an interruption and are checked before they get their final name.

pooch, the usual library for this, starts every attempt from the beginning, which is no option for 186 GB.
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import GLSimError, one_line

SCHEMES = ('https', 'http', 'file')
_BLOCK = 1 << 18
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
_NETWORK_ERRORS = (OSError, http.client.HTTPException)  # URLError and time-outs are OSErrors

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, if it is known, their number at the end."""


class _Interrupted(Exception):
    """The connection ended early; worth another attempt."""


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web only: no server may redirect to local files or FTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ('http', 'https'):
            raise GLSimError(f'{req.full_url} redirects to {newurl}, which is not on the web; download it by hand')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    path: str | Path,
    checksum: str | None = None,
    size: int | None = None,
    attempts: int = 5,
    timeout: float = 60,
    pause: float = 2,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file and return its path; one that is there is replaced.

    The part received so far is kept in ``PATH.part``, from which a later call resumes if the server allows it. The file
    gets its name once it is complete and :func:`mismatch` finds nothing.

    Args:
        attempts: How many times in a row the connection may fail without a new byte.
        timeout: Seconds to wait for an answer.
        pause: Seconds before the second attempt, doubled each time.
    """
    path = Path(path)
    if urlsplit(url).scheme not in SCHEMES:
        raise GLSimError(f'{url} has none of the schemes {", ".join(SCHEMES)}; download it by hand')
    part = path.with_name(f'{path.name}.part')
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.is_file() and part.stat().st_size > 0
    except OSError as error:
        raise GLSimError(f'{part.parent} cannot be written ({one_line(error)}); choose another folder') from error
    _fetch(url, part, size, attempts, timeout, pause, progress)
    wrong = mismatch(part, checksum, size)
    if wrong and resumed:  # what was there may be of another version of the file
        part.unlink()
        _fetch(url, part, size, attempts, timeout, pause, progress)
        wrong = mismatch(part, checksum, size)
    if wrong:
        part.unlink()
        raise GLSimError(f'what {url} sends {wrong}; try again later, or get the file by hand')
    try:
        part.replace(path)
    except OSError as error:
        raise GLSimError(f'{path} cannot be written ({one_line(error)}); rename {part} by hand') from error
    return path


def mismatch(path: Path, checksum: str | None = None, size: int | None = None) -> str | None:
    """Say how a file differs from the published one, such as ``'has 3 bytes, not 502'``; None if it does not.

    The checksum is ``'md5:...'`` or ``'sha256:...'``. MD5, which is all that is published for some files, guards
    against damage, not against forgery.
    """
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f'has {found_size:,} bytes, not {size:,}'
    if checksum is None:
        return None
    algorithm, _, wanted = checksum.partition(':')
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with path.open('rb') as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); check its permissions') from error
    found = digest.hexdigest()
    return None if found == wanted.lower() else f'has the {algorithm} {found}, not {wanted}'


def _fetch(
    url: str, part: Path, size: int | None, attempts: int, timeout: float, pause: float, progress: Progress | None
) -> None:
    """Fill the partial file until all of it is there."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if size is not None and before == size:
            return
        try:
            return _receive(url, part, before, timeout, progress)
        except (_Interrupted, *_NETWORK_ERRORS) as error:
            _raise_if_refused(url, error)
            got_more = part.exists() and part.stat().st_size > before
            failures = 1 if got_more else failures + 1
            if failures >= attempts:
                again = f'it goes on from {part}' if part.exists() else 'nothing has come yet'
                raise GLSimError(f'{url} cannot be downloaded ({_reason(error)}); run it again, {again}') from error
            time.sleep(pause * 2 ** (failures - 1))


def _reason(error: Exception) -> str:
    """The message of an error without urllib's wrapping."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return one_line(inner) if isinstance(inner, Exception) else str(inner)


def _raise_if_refused(url: str, error: Exception) -> None:
    """Raise unless another attempt may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code not in _PASSING_STATUS:
            raise GLSimError(
                f'{url} cannot be downloaded: the server answers {error.code} ({error.reason}); get the file by hand'
            ) from error
    elif isinstance(error, urllib.error.URLError) and urlsplit(url).scheme == 'file':
        raise GLSimError(f'{url} cannot be read ({_reason(error)}); check the path') from error


def _receive(url: str, part: Path, offset: int, timeout: float, progress: Progress | None) -> None:
    """One request, whose answer is appended to the partial file or, if the server sends all, replaces it."""
    headers = {'User-Agent': 'glsim-mm', 'Accept-Encoding': 'identity'}
    if offset:
        headers['Range'] = f'bytes={offset}-'
    try:
        opener = urllib.request.build_opener(_Redirect)
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        error.close()
        if _number(r'/(\d+)$', error.headers, 'Content-Range') == offset:
            return  # nothing was left to send
        part.unlink()
        raise _Interrupted('the partial file is longer than the file') from error
    with response:
        start = _number(r'bytes (\d+)-', response.headers, 'Content-Range') if response.status == 206 else 0
        if start not in (0, offset):
            part.unlink()
            raise _Interrupted('the server sent another part than it was asked for')
        length = _number(r'(\d+)$', response.headers, 'Content-Length')
        end = None if length is None else start + length
        done = _write(response, part, start, end, progress)
    if end is not None and done < end:
        raise _Interrupted(f'the connection ended after {done:,} of {end:,} bytes')


def _write(response: Any, part: Path, done: int, end: int | None, progress: Progress | None) -> int:
    """Write an answer; returns the bytes in the partial file afterwards."""
    try:
        stream = part.open('ab' if done else 'wb')
    except OSError as error:
        raise GLSimError(f'{part} cannot be written ({one_line(error)}); choose another folder') from error
    with stream:
        while block := response.read(_BLOCK):
            try:
                stream.write(block)
                stream.flush()
            except OSError as error:
                raise GLSimError(f'{part} cannot be written ({one_line(error)}); make room on the disk') from error
            done += len(block)
            if progress is not None:
                progress(done, end)
    return done


def _number(pattern: str, headers: Any, name: str) -> int | None:
    found = re.search(pattern, headers.get(name) or '')
    return int(found.group(1)) if found else None
