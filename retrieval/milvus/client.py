"""One collection of Milvus through pymilvus: its calls, its limits, and its errors in one sentence."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RetrievalError
from .location import MilvusLocation

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TOKEN_VARIABLE = 'MILVUS_TOKEN'
MAX_RESULTS = 16384  # of one query vector, and of one page of rows: Milvus' own limit
MAX_ENTRIES = 1_000_000  # query vectors x results of one call
MAX_QUERIES = 1024  # query vectors of one call
MAX_BYTES = 8 << 20  # of one write; servers take 64 MiB or more
MAX_IDS = 1000  # in one expression
_LOUD_LOGGERS = ('pymilvus', 'milvus_lite')
_logger = logging.getLogger(__name__)


@contextmanager
def milvus_errors(location: MilvusLocation, action: str) -> Iterator[None]:
    """What pymilvus raises inside becomes a RetrievalError of one sentence.

    pymilvus and milvus-lite also log every failure with its traceback; the exception says the same once.
    """
    import grpc
    from pymilvus.exceptions import MilvusException

    loggers = [logging.getLogger(name) for name in _LOUD_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except MilvusException as error:
        reason = ' '.join(str(error.message).split())
        raise RetrievalError(f'Milvus could not {action} at {location}: {reason}') from error
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else error
        raise RetrievalError(f'Milvus could not {action} at {location}: {details}') from error
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def connect(location: MilvusLocation) -> 'MilvusClient':
    """A connection; the token comes from the environment variable MILVUS_TOKEN.

    Raises:
        RetrievalError: If there is no server, it refuses the token, or another process has the local file open.
        ImportError: If pymilvus, or milvus-lite for a local file, is not installed.
    """
    try:
        import pymilvus
    except ImportError as error:
        raise ImportError('A gallery in Milvus needs pymilvus: pip install pymilvus.') from error
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


def _open_file(location: MilvusLocation) -> 'MilvusClient':
    import pymilvus

    try:
        import milvus_lite.server_manager  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'A local Milvus file needs milvus-lite: pip install milvus-lite (beside faiss-gpu: with --no-deps, see '
            'docs/guides/milvus.md).'
        ) from error
    os.makedirs(os.path.dirname(location.uri) or '.', exist_ok=True)
    try:
        with milvus_errors(location, 'be opened'):
            return pymilvus.MilvusClient(uri=location.uri)
    except RetrievalError as error:
        raise RetrievalError(
            f'{location.uri} cannot be opened by milvus-lite: another process has it open (one at a time may), or '
            'it is no file of milvus-lite 3'
        ) from error


class Collection:
    """A collection of Milvus and the calls that a gallery needs; every failure is a RetrievalError.

    Args:
        location: Which one. It need not exist yet.
    """

    def __init__(self, location: MilvusLocation) -> None:
        self.location = location
        self.client = connect(location)
        self._name = location.collection
        self._server_name = ''

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def server_name(self) -> str:
        """What the server calls itself: ``'v2.3.5'``, ``'milvus_lite-3.2.2'``."""
        if not self._server_name:
            with milvus_errors(self.location, 'tell its version'):
                self._server_name = str(self.client.get_server_version())
        return self._server_name

    def is_lite(self) -> bool:
        """Whether it is milvus-lite, in this process or behind a port."""
        return self.server_name().startswith('milvus_lite')

    def exists(self) -> bool:
        """Whether the collection is there."""
        with milvus_errors(self.location, 'look for the collection'):
            return bool(self.client.has_collection(self._name))

    def drop(self) -> None:
        """Delete the collection with all its rows."""
        with milvus_errors(self.location, 'drop the collection'):
            self.client.drop_collection(self._name)

    def create(self, schema: Any, properties: dict[str, str]) -> None:
        """Make the collection, with its properties from the first moment on."""
        with milvus_errors(self.location, 'create the collection'):
            self.client.create_collection(self._name, schema=schema, properties=properties)

    def replace_indexes(self, names: Sequence[str], indexes: Any) -> None:
        """Take other indexes on these fields; searches fail until it is done."""
        with milvus_errors(self.location, 'change the index'):
            self.client.release_collection(self._name)
            for name in names:
                if name in self.client.list_indexes(self._name):
                    self.client.drop_index(self._name, name)
            self.client.create_index(self._name, indexes)
            self.client.load_collection(self._name)

    def load(self, names: Sequence[str], build: Callable[[list[str]], Any]) -> None:
        """Make rows searchable: index what has no index yet, as after a creation that broke off, and load."""
        with milvus_errors(self.location, 'load the collection'):
            indexed = self.client.list_indexes(self._name)
            missing = [name for name in names if name not in indexed]
            if missing:
                # Nothing to wait for: there are no rows yet, or loading waits.
                self.client.create_index(self._name, build(missing), sync=False)
            self.client.load_collection(self._name)

    def properties(self) -> dict[str, str]:
        """The collection's own key-value pairs."""
        with milvus_errors(self.location, 'describe the collection'):
            return dict(self.client.describe_collection(self._name).get('properties') or {})

    def set_properties(self, properties: dict[str, str]) -> None:
        """Change some key-value pairs, all at once."""
        with milvus_errors(self.location, 'change properties of the collection'):
            self.client.alter_collection_properties(self._name, properties)

    def write(self, rows: list[dict]) -> None:
        """Insert rows, or replace those with the same id; on return they are durable and visible."""
        with milvus_errors(self.location, 'write rows'):
            self.client.upsert(self._name, rows)

    def delete(self, expression: str) -> None:
        """Delete the rows that meet an expression."""
        with milvus_errors(self.location, 'delete rows'):
            self.client.delete(self._name, filter=expression)

    def flush(self) -> None:
        """Seal what was written, which starts indexing of it."""
        with milvus_errors(self.location, 'flush'):
            self.client.flush(self._name)

    def count(self, expression: str = '') -> int:
        """Number of rows that meet an expression; '' means all."""
        with milvus_errors(self.location, 'count rows'):
            answer = self.client.query(
                self._name, filter=expression, output_fields=['count(*)'], consistency_level=self.location.consistency
            )
        return int(answer[0]['count(*)'])

    def fetch(self, ids: Sequence[int], fields: Sequence[str]) -> dict[int, dict]:
        """Rows by id, as {id: row}; ids that are not there are left out."""
        rows: dict[int, dict] = {}
        for start in range(0, len(ids), MAX_IDS):
            expression = f'id in [{", ".join(str(int(i)) for i in ids[start : start + MAX_IDS])}]'
            with milvus_errors(self.location, 'read rows'):
                answer = self.client.query(
                    self._name,
                    filter=expression,
                    output_fields=['id', *fields],
                    consistency_level=self.location.consistency,
                )
            rows.update((int(row['id']), row) for row in answer)
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
            with milvus_errors(self.location, 'read rows'):
                page = self.client.query(
                    self._name,
                    filter=f'({expression}) and (id > {last})' if expression else f'id > {last}',
                    output_fields=['id', *fields],
                    limit=limit,
                    **order,
                    consistency_level=self.location.consistency,
                )
            if not page:
                return
            yield list(page)
            last = max(row['id'] for row in page)

    def search(
        self, queries: np.ndarray, field: str, k: int, metric: str, expression: str, parameters: dict
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Best k rows of every query, as Milvus ranks them.

        Args:
            queries: float32, (m, d).
            field: Field of vectors.
            k: 1 to MAX_RESULTS.
            metric: Milvus' name of the metric.
            expression: Which rows take part; '' means all.
            parameters: Of the index and the range.

        Returns:
            Per query, scores float32 and ids int64, at most k, best first.
        """
        hits: list[tuple[np.ndarray, np.ndarray]] = []
        step = max(1, min(MAX_QUERIES, MAX_ENTRIES // k))
        for start in range(0, len(queries), step):
            with milvus_errors(self.location, 'search'):
                answer = self.client.search(
                    self._name,
                    list(queries[start : start + step]),
                    filter=expression,
                    limit=k,
                    output_fields=['id'],
                    search_params={'metric_type': metric, 'params': parameters},
                    anns_field=field,
                    consistency_level=self.location.consistency,
                )
            hits += [(np.array(hit.distances, np.float32), np.array(hit.ids, np.int64)) for hit in answer]
        return hits
