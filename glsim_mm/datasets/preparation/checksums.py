"""Checksums of files."""

import hashlib
from pathlib import Path

from ...errors import GLSimError, one_line

_BLOCK = 1 << 20


def file_digest(path: Path, algorithm: str = 'sha256') -> str:
    """Checksum of a file's content.

    Args:
        path: The file.
        algorithm: ``'md5'`` or ``'sha256'``.

    Returns:
        Hexadecimal.

    Raises:
        GLSimError: If the file cannot be read.
    """
    # MD5 is what is published for some files; it guards against damage here, not against forgery.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with path.open('rb') as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); check its permissions') from error
    return digest.hexdigest()


def mismatch(path: Path, checksum: str | None = None, size: int | None = None) -> str | None:
    """How a file differs from what is published.

    Args:
        path: The file.
        checksum: ``'md5:...'`` or ``'sha256:...'``. Defaults to None, not known.
        size: In bytes. Defaults to None, not known.

    Returns:
        For example ``'has 3 bytes, not 502'``; None if it does not differ.

    Raises:
        GLSimError: If the file cannot be read.
    """
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f'has {found_size:,} bytes, not {size:,}'
    if checksum is not None:
        algorithm, _, wanted = checksum.partition(':')
        found = file_digest(path, algorithm)
        if found != wanted.lower():
            return f'has the {algorithm} {found}, not {wanted}'
    return None
