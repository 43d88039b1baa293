"""Two writers whose calls to Milvus alternate as a test says, and a Milvus in memory, which makes that quick."""

import threading
from collections import defaultdict

import numpy as np
import pymilvus

CALLS = (
    'describe_collection', 'alter_collection_properties', 'drop_collection_properties', 'insert', 'upsert', 'delete',
    'query', 'search',
)  # fmt: skip


class Killed(BaseException):
    """The end of a writer that can do nothing more, not even clear up."""


class Actor:
    """A thread that works on a gallery and stops before a call to Milvus until it is let on.

    Args:
        gallery: Its calls are counted.
        job: Gallery -> result.
        dies_at: Number of the call that kills it; None for none.
    """

    def __init__(self, gallery, job, dies_at=None):
        self.calls, self.result, self.error, self.is_done, self.has_written = 0, None, None, False, False
        self._stop, self._dies_at = None, dies_at
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        gallery._collection._client = _CountedClient(gallery._collection.client, self._before_call)
        self._thread = threading.Thread(target=self._work, args=(gallery, job), daemon=True)

    def run_until(self, calls=None):
        """Let it work until it has made so many calls, or to its end; an end by a mistake of the code is raised."""
        if self.is_done:
            return
        self._stop = calls
        self._go.release() if self._thread.ident else self._thread.start()
        self._stopped.acquire()
        if self.error is not None and not isinstance(self.error, (Killed, ValueError)):
            raise self.error

    def _work(self, gallery, job):
        try:
            self.result = job(gallery)
        except (Exception, Killed) as error:  # noqa: BLE001, the test looks at it
            self.error = error
        self.is_done, self._stop = True, None
        if not isinstance(self.error, Killed):
            self._dies_at = None  # it has come to its end before
        self._stopped.release()

    def _before_call(self, name):
        if self.calls == self._stop:
            self._stopped.release()
            self._go.acquire()
        if self._dies_at is not None and self.calls >= self._dies_at:
            raise Killed
        self.calls += 1
        self.has_written |= name in ('insert', 'upsert', 'delete')


class _CountedClient:
    def __init__(self, client, before_call):
        self._client, self._before_call = client, before_call

    def __getattr__(self, name):
        method = getattr(self._client, name)
        if name not in CALLS:
            return method

        def call(*args, **options):
            self._before_call(name)
            return method(*args, **options)

        return call


class MemoryMilvus:
    """The client of a server in memory, with what Milvus guarantees and no more: each call happens as a whole."""

    create_schema = staticmethod(pymilvus.MilvusClient.create_schema)
    prepare_index_params = staticmethod(pymilvus.MilvusClient.prepare_index_params)

    def __init__(self):
        self.rows, self.properties = defaultdict(dict), defaultdict(dict)

    def get_server_version(self):
        return 'milvus_lite-memory'

    def has_collection(self, name):
        return name in self.properties

    def create_collection(self, name, schema, properties):
        self.properties[name] = dict(properties)

    def create_index(self, name, index_params, sync):
        """Rows in memory need none."""

    def describe_collection(self, name):
        return {'properties': dict(self.properties[name])}

    def alter_collection_properties(self, name, properties):
        self.properties[name].update(properties)

    def drop_collection_properties(self, name, keys):
        for key in keys:
            self.properties[name].pop(key, None)

    def insert(self, name, rows):
        # Milvus would keep both rows (a server) or the later one (milvus-lite): neither may ever be asked for.
        assert not self.rows[name].keys() & {row['id'] for row in rows}, 'an id was inserted twice'
        self.upsert(name, rows)

    def upsert(self, name, rows):
        self.rows[name].update((row['id'], dict(row)) for row in rows)

    def delete(self, name, filter):
        for row in self._select(name, filter):
            del self.rows[name][row['id']]

    def query(self, name, filter, output_fields, limit=None, **_):
        found = sorted(self._select(name, filter), key=lambda row: row['id'])
        if output_fields == ['count(*)']:
            return [{'count(*)': len(found)}]
        return [{field: row[field] for field in output_fields} for row in found[:limit]]

    def search(self, name, queries, filter, limit, anns_field, **_):
        found = self._select(name, filter)
        return [self._rank(query, found, anns_field, limit) for query in queries]

    def list_indexes(self, name):
        return ['vector_embedding']

    def load_collection(self, name):
        pass

    def close(self):
        pass

    def _select(self, name, expression):
        python = compile(expression.replace('true', 'True') or 'True', 'filter', 'eval')
        return [row for row in list(self.rows[name].values()) if eval(python, {'__builtins__': {}}, row)]

    def _rank(self, query, rows, field, limit):
        distances = np.array([np.square(row[field] - query).sum() for row in rows])
        order = np.argsort(distances)[:limit]
        return _Ranked(distances[order], [rows[one]['id'] for one in order])


class _Ranked:
    def __init__(self, distances, ids):
        self.distances, self.ids = distances, ids
