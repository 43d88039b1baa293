"""Where a gallery in Milvus is, and the calls to its collection through pymilvus; every failure is one sentence."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import check_open
from ..hits import Hits, worst_score
from .expression import ids_expression, join_expressions

if TYPE_CHECKING:
    from pymilvus import MilvusClient

METRIC_TYPES = {'cosine': 'COSINE', 'ip': 'IP', 'l2': 'L2'}
TOKEN_VARIABLE = 'MILVUS_TOKEN'
MAX_RESULTS = 16384  # of one query vector, and of one page of rows: Milvus' own limit
MAX_ENTRIES = 1_000_000  # query vectors x results of one call
MAX_QUERIES = 1024  # query vectors of one call
MAX_BYTES = 8 << 20  # of one write; servers take 64 MiB or more
MAX_IDS = 1000  # in one expression
MAX_TEXT_BYTES = 65535  # of one VARCHAR
CONSISTENCY_LEVELS = ('Strong', 'Bounded', 'Session', 'Eventually')
DEFAULT_PORT = 19530
_SCHEMES = {'milvus': 'http', 'milvus+https': 'https'}
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]{0,199}')
_FORMS = (
    'milvus://HOST:PORT/COLLECTION, milvus+https://HOST:PORT/COLLECTION (TLS) or '
    'milvus:///FOLDER/FILE.db/COLLECTION (a local file)'
)
_logger = logging.getLogger(__name__)


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

    It is ``milvus://HOST[:PORT]/[DATABASE/]COLLECTION``, the same with ``milvus+https://`` for TLS,
    ``milvus:///ABSOLUTE/PATH.db/COLLECTION`` or ``milvus://./RELATIVE/PATH.db/COLLECTION`` for a local file; each may
    end with ``?consistency=Strong|Bounded|Session|Eventually``. The port defaults to 19530.

    Raises:
        RetrievalError: If it has another form, or carries a password: secrets belong in ``MILVUS_TOKEN``.
    """
    parts = urlsplit(location)
    if parts.scheme not in _SCHEMES or '://' not in location:
        raise RetrievalError(f'{location!r} is not a location in Milvus: write {_FORMS}')
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
            f'{name!r} in {location!r} is not a valid name of a {kind}: use letters, digits and underscores, no digit '
            'first'
        )


class _Muted:
    """Loggers that are silent while a call is inside: pymilvus and milvus-lite log failures with their tracebacks."""

    def __init__(self, names: Sequence[str]) -> None:
        self._loggers = [logging.getLogger(name) for name in names]
        self._levels: list[int] = []
        self._inside = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._levels = [logger.level for logger in self._loggers]
                for logger in self._loggers:
                    logger.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for logger, level in zip(self._loggers, self._levels):
                    logger.setLevel(level)


_muted = _Muted(('pymilvus', 'milvus_lite'))


@contextmanager
def milvus_errors(location: MilvusLocation, action: str) -> Iterator[None]:
    """Turn what pymilvus raises into a RetrievalError of one sentence: Milvus could not ``action`` at ``location``."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        with _muted:
            yield
    except MilvusException as error:
        reason = ' '.join(str(error.message).split())
        raise RetrievalError(f'Milvus could not {action} at {location}: {reason}') from error
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else error
        raise RetrievalError(f'Milvus could not {action} at {location}: {details}') from error


def connect(location: MilvusLocation) -> MilvusClient:
    """Connect; the token comes from the environment variable MILVUS_TOKEN."""
    try:
        import pymilvus
    except ModuleNotFoundError:
        raise ImportError('a gallery in Milvus needs pymilvus: pip install pymilvus') from None
    if location.is_file:
        return _open_file(location)
    token = os.environ.get(TOKEN_VARIABLE, '')
    host = location.uri.split('://')[1].rsplit(':', 1)[0]
    if token and not location.is_encrypted and host not in ('localhost', '127.0.0.1', '[::1]'):
        _logger.warning('the token goes to %s unencrypted; milvus+https:// encrypts it', host)
    try:
        with milvus_errors(location, 'be reached'):
            return pymilvus.MilvusClient(uri=location.uri, token=token, db_name=location.database, timeout=10)
    except RetrievalError as error:
        raise RetrievalError(
            f'no Milvus answers at {location}: check HOST:PORT, and the user and password (or key) in {TOKEN_VARIABLE}'
        ) from error


# pymilvus pings idle connections every 10 seconds. milvus-lite's server keeps to gRPC's default of one ping in five
# minutes and ends connections that ping more often ("Too many pings"), so the next call would fail.
_NO_PINGS = {'grpc.keepalive_time_ms': 2**31 - 1}


def _open_file(location: MilvusLocation) -> MilvusClient:
    import pymilvus

    try:
        import milvus_lite.server_manager  # noqa: F401
    except ModuleNotFoundError:
        raise ImportError(
            'A local Milvus file needs milvus-lite: pip install milvus-lite (beside faiss-gpu: with --no-deps, see '
            'docs/guides/milvus.md).'
        ) from None
    os.makedirs(os.path.dirname(location.uri) or '.', exist_ok=True)
    try:
        with milvus_errors(location, 'be opened'):
            return pymilvus.MilvusClient(uri=location.uri, grpc_options=_NO_PINGS)
    except RetrievalError as error:
        raise RetrievalError(
            f'{location.uri} cannot be opened by milvus-lite: another process has it open (one at a time may), or '
            'it is not a file of milvus-lite 3'
        ) from error


class Collection:
    """A collection of Milvus, which need not exist yet, and the calls that a gallery needs.

    Every failure is a RetrievalError. ``consistency`` is Milvus' level for every read, in place of the location's.

    Example:
        >>> collection = Collection(parse_location('milvus://localhost/birds'))
        >>> collection.count('label == "Wren"')
    """

    def __init__(self, location: MilvusLocation, consistency: str = '') -> None:
        self.location = location
        self._client: MilvusClient | None = connect(location)
        self._owner = self  # of the connection
        self._process = os.getpid()
        self._consistency = consistency or location.consistency
        self._server_name = ''

    def sibling(self, name: str) -> Collection:
        """The collection beside it that ends with this name, over the same connection; every read sees every write."""
        other = copy(self)
        other.location = replace(self.location, collection=f'{self.location.collection}_{name}')
        other._consistency = 'Strong'
        return other

    @property
    def client(self) -> MilvusClient:
        """The connection; RetrievalError once it is closed, and in a process that was forked since."""
        client = self._owner._client
        check_open(self.location, client is not None, self._process)
        return cast('MilvusClient', client)

    def _call(self, action: str, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the client on this collection; ``action`` names it in errors."""
        with milvus_errors(self.location, action):
            return getattr(self.client, method)(self.location.collection, *args, **options)

    def close(self) -> None:
        """End the connection, unless it is that of a parent process."""
        client, self._client = self._client, None
        if client is not None and os.getpid() == self._process:
            client.close()

    def server_name(self) -> str:
        """What the server calls itself: ``'v2.3.5'``, ``'milvus_lite-3.2.2'``."""
        if not self._server_name:
            with milvus_errors(self.location, 'tell its version'):
                self._server_name = str(self.client.get_server_version())
        return self._server_name

    def server_version(self) -> tuple[int, int]:
        """Major and minor number of a server's version, (99, 0) for milvus-lite and names without a number."""
        version = re.match(r'v?(\d+)\.(\d+)', self.server_name())
        return (int(version[1]), int(version[2])) if version else (99, 0)

    def is_lite(self) -> bool:
        """Whether it is milvus-lite, in this process or behind a port."""
        return self.server_name().startswith('milvus_lite')

    def exists(self) -> bool:
        """Whether the collection is there."""
        return bool(self._call('look for the collection', 'has_collection'))

    def drop(self) -> None:
        """Delete the collection with all its rows."""
        self._call('drop the collection', 'drop_collection')

    def create(self, schema: Any, properties: dict[str, str]) -> None:
        """Make the collection, with its properties from the first moment on."""
        self._call('create the collection', 'create_collection', schema=schema, properties=properties)

    def replace_indexes(self, names: Sequence[str], indexes: Any) -> None:
        """Build other indexes on these fields; searches fail until it is done."""
        action = 'change the index'
        self._call(action, 'release_collection')
        for name in names:
            if name in self._call(action, 'list_indexes'):
                self._call(action, 'drop_index', name)
        self._call(action, 'create_index', indexes)
        self._call(action, 'load_collection')

    def load(self, names: Sequence[str], build: Callable[[list[str]], Any]) -> None:
        """Make rows searchable: index what has no index yet, as after a creation that broke off, and load."""
        action = 'load the collection'
        indexed = self._call(action, 'list_indexes')
        missing = [name for name in names if name not in indexed]
        if missing:
            # Nothing to wait for: there are no rows yet, or loading waits.
            self._call(action, 'create_index', build(missing), sync=False)
        self._call(action, 'load_collection')

    def properties(self) -> dict[str, str]:
        """The collection's own key-value pairs, as the last change left them whatever the consistency level."""
        return dict(self._call('describe the collection', 'describe_collection').get('properties') or {})

    def set_properties(self, properties: dict[str, str]) -> None:
        """Change some key-value pairs, all at once."""
        self._call('change properties of the collection', 'alter_collection_properties', properties)

    def drop_property(self, key: str) -> None:
        """Delete one key-value pair; servers before 2.5 cannot and leave it empty."""
        if self.server_version() >= (2, 5):
            self._call('change properties of the collection', 'drop_collection_properties', [key])
        else:
            self.set_properties({key: ''})

    def insert(self, rows: list[dict]) -> None:
        """Insert rows with new ids; on return they are durable, and visible to strongly consistent reads."""
        self._call('write rows', 'insert', rows)

    def upsert(self, rows: list[dict]) -> None:
        """Replace rows with the same ids, each at once; on return they are durable and visible as after an insert."""
        self._call('write rows', 'upsert', rows)

    def delete(self, expression: str) -> None:
        """Delete the rows that meet an expression."""
        self._call('delete rows', 'delete', filter=expression)

    def flush(self) -> None:
        """Seal what was written, which starts indexing it."""
        self._call('flush', 'flush')

    def _query(self, action: str, expression: str, fields: Sequence[str], **options: Any) -> list[dict]:
        options = {'consistency_level': self._consistency, **options}
        return list(self._call(action, 'query', filter=expression, output_fields=list(fields), **options))

    def count(self, expression: str = '') -> int:
        """Number of rows that meet an expression; '' means all."""
        return int(self._query('count rows', expression, ['count(*)'])[0]['count(*)'])

    def count_written(self, number: int) -> int:
        """Number of rows with the number of a write that this client has just sent."""
        # One's own writes are in the session, for which servers need not wait 0.2 seconds.
        expression = f'write_number == {number}'
        answer = self._query('count rows', expression, ['count(*)'], consistency_level='Session')
        return int(answer[0]['count(*)'])

    def fetch(self, ids: Sequence[int], fields: Sequence[str], expression: str = '') -> dict[int, dict]:
        """Rows by id, of those that meet an expression, as {id: row}; ids that are not there are left out."""
        rows: dict[int, dict] = {}
        for start in range(0, len(ids), MAX_IDS):
            wanted = join_expressions(ids_expression(ids[start : start + MAX_IDS]), expression)
            rows.update((int(row['id']), row) for row in self._query('read rows', wanted, ['id', *fields]))
        return rows

    def scan(self, expression: str = '', fields: Sequence[str] = ()) -> Iterator[list[dict]]:
        """All rows that meet an expression, page by page, ids ascending from page to page.

        pymilvus' own iterator ignores the consistency level: on Milvus 2.3 it lists rows that were deleted just before.
        """
        last = -1
        limit = MAX_IDS if fields else MAX_RESULTS
        # Both ask for the smallest ids of all segments: milvus-lite understands one of them, servers the other.
        order = {'iterator': 'True'} if self.is_lite() else {'reduce_stop_for_best': 'True'}
        while True:
            wanted = join_expressions(expression, f'id > {last}')
            page = self._query('read rows', wanted, ['id', *fields], limit=limit, **order)
            if not page:
                return
            yield page
            last = max(row['id'] for row in page)

    def search(self, queries: np.ndarray, field: str, k: int, metric: str, expression: str, parameters: dict) -> Hits:
        """Best k rows (up to MAX_RESULTS) of queries float32 (m, d), as Milvus ranks those that meet an expression."""
        scores = np.full((len(queries), k), worst_score(metric), np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        step = max(1, min(MAX_QUERIES, MAX_ENTRIES // k))
        for start in range(0, len(queries), step):
            answer = self._call(
                'search',
                'search',
                list(queries[start : start + step]),
                filter=expression,
                limit=k,
                output_fields=['id'],
                search_params={'metric_type': METRIC_TYPES[metric], 'params': parameters},
                anns_field=field,
                consistency_level=self._consistency,
            )
            for row, found in enumerate(answer, start):
                scores[row, : len(found.ids)], ids[row, : len(found.ids)] = found.distances, found.ids
        return Hits(scores, ids)
