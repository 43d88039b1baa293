"""Where a gallery in Milvus is: what stands in place of a folder's path."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..errors import RetrievalError

CONSISTENCY_LEVELS = ('Strong', 'Bounded', 'Session', 'Eventually')
DEFAULT_PORT = 19530
_SCHEMES = {'milvus': 'http', 'milvus+https': 'https'}
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]{0,199}')
_FORMS = (
    'milvus://HOST:PORT/COLLECTION, milvus+https://HOST:PORT/COLLECTION (TLS) or '
    'milvus:///FOLDER/FILE.db/COLLECTION (a local file)'
)


@dataclass(frozen=True)
class MilvusLocation:
    """A collection of a Milvus server or of a local file.

    Attributes:
        uri: What pymilvus connects to: ``http://HOST:PORT``, ``https://HOST:PORT`` or the path of a ``.db`` file.
        collection: Name of the collection.
        database: Name of Milvus' database; empty for its default one.
        consistency: Milvus' consistency level of every search. ``'Strong'`` sees all that was written before.
    """

    uri: str
    collection: str
    database: str = ''
    consistency: str = 'Strong'

    @property
    def is_file(self) -> bool:
        """Whether milvus-lite serves it from a local file."""
        return '://' not in self.uri

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self.uri.startswith('https://')

    def __str__(self) -> str:
        if self.is_file:
            base = f'milvus://{"" if Path(self.uri).is_absolute() else "./"}{quote(self.uri)}'
        else:
            host = self.uri.split('://')[1]
            base = f'milvus{"+https" if self.is_encrypted else ""}://{host}'
            base += f'/{self.database}' if self.database else ''
        query = '' if self.consistency == 'Strong' else f'?consistency={self.consistency}'
        return f'{base}/{self.collection}{query}'


def parse_location(location: str) -> MilvusLocation:
    """Read a location.

    Args:
        location: ``milvus://HOST[:PORT]/[DATABASE/]COLLECTION``, the same with ``milvus+https://`` for TLS,
            ``milvus:///ABSOLUTE/PATH.db/COLLECTION`` or ``milvus://./RELATIVE/PATH.db/COLLECTION`` for a local file;
            each may end with ``?consistency=Strong|Bounded|Session|Eventually``. The port defaults to 19530.

    Returns:
        Its parts.

    Raises:
        RetrievalError: If it has another form, or carries a password: secrets belong in ``MILVUS_TOKEN``.
    """
    parts = urlsplit(location)
    if parts.scheme not in _SCHEMES or '://' not in location:
        raise RetrievalError(f'{location!r} is no location in Milvus: write {_FORMS}')
    if '@' in parts.netloc:
        raise RetrievalError(
            'a location must not carry a password, which logs and reports would show: put USER:PASSWORD or the API key '
            'into the environment variable MILVUS_TOKEN'
        )
    consistency = _read_options(parts.query, parts.fragment)
    *folders, collection = unquote(parts.path).lstrip('/').split('/')
    _check_name(collection, 'collection', location)
    if parts.netloc in ('', '.'):
        if parts.scheme != 'milvus' or not folders or not folders[-1].endswith('.db'):
            raise RetrievalError(f'{location!r} names no file that ends in .db: write {_FORMS}')
        return MilvusLocation(('' if parts.netloc else '/') + '/'.join(folders), collection, '', consistency)
    if len(folders) > 1:
        raise RetrievalError(f'{location!r} has too many parts: write {_FORMS}')
    if folders:
        _check_name(folders[0], 'database', location)
    return MilvusLocation(
        f'{_SCHEMES[parts.scheme]}://{_read_host(location)}', collection, folders[0] if folders else '', consistency
    )


def _read_host(location: str) -> str:
    parts = urlsplit(location)
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:
        port = 0
    if not port or not parts.hostname:
        raise RetrievalError(f'{location!r} has no valid HOST:PORT: write {_FORMS}')
    host = f'[{parts.hostname}]' if ':' in parts.hostname else parts.hostname
    return f'{host}:{port}'


def _read_options(query: str, fragment: str) -> str:
    options = dict(parse_qsl(query, keep_blank_values=True))
    consistency = options.pop('consistency', 'Strong')
    if options or fragment or consistency not in CONSISTENCY_LEVELS:
        # Not repeated: it may be a secret.
        raise RetrievalError(
            f'the only option of a location is ?consistency= with one of {", ".join(CONSISTENCY_LEVELS)}'
        )
    return consistency


def _check_name(name: str, kind: str, location: str) -> None:
    if not _NAME.fullmatch(name):
        raise RetrievalError(
            f'{name!r} in {location!r} is no name of a {kind}: use letters, digits and underscores, no digit first'
        )
