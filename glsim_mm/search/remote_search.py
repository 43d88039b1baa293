"""Searching a gallery that another machine serves, as if it lay here."""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from retrieval.answers import SearchHit, SearchResult
from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, Manifest, Record
from retrieval.gallery.conditions import read_conditions
from retrieval.hits import PatchMatch
from retrieval.records import check_count, read_ids

from ..http_client import HttpClient, RefusedError
from ..images.photos import ImageInput, ImageItem, UnreadableImageError, find_images, read_content, read_photo
from .encoded import EncodingError, EncodingReport, sorted_errors
from .result_pages import SIDE, write_results

API = '/api/v1'
_AT_ONCE = 8  # photos that are asked for at a time, which the server joins to batches
_ENDED = ('done', 'failed', 'cancelled', 'interrupted')


@dataclass
class Identification:
    """What class photos are of, as the server says.

    Attributes:
        query: As in :class:`retrieval.answers.SearchResult`.
        answer: ``label``, ``sentence``, ``share``, ``probability``, ``decision`` and more, as ``Answer`` of the
            server's OpenAPI description.
        votes: Classes among the nearest photos, the best first, as ``Vote`` there.
        error: Why the photo cannot be used; then there is no answer.
    """

    query: Record
    answer: dict[str, Any] | None = None
    votes: list[dict[str, Any]] = field(default_factory=list)
    error: str = ''


class RemoteSearch:
    """Searches a gallery of a ``glsim serve``, with the interface of :class:`~glsim_mm.search.ImageSearch`.

    ::

        with RemoteSearch('http://birds.example:8765', token='...') as search:
            for result in search('query.jpg', k=5):
                for hit in result.hits:
                    print(hit.score, hit.record.path, hit.record.label, hit.record.box)

    Neither a model nor FAISS is loaded: photos are sent as they are. Records of hits have no content hashes, and no
    places of patches.

    Args:
        url: Of the server, with the prefix under which a proxy shows it.
        token: Its token.
        gallery: Name of a gallery. Defaults to the first.
        timeout: Seconds to wait for an answer: longer than a server takes, which gives up after 60.
        patience: Seconds to go on asking where the server is busy.

    Raises:
        ServerAwayError: Here and in all methods, if the server cannot be reached.
        UserError: If the token is wrong, or there is no such gallery.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        gallery: str | None = None,
        timeout: float = 90.0,
        patience: float = 30.0,
    ) -> None:
        self._client = HttpClient(url, token, timeout, patience)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix='remote search')
        self.gallery = gallery or ''
        info = self.info()
        self.gallery, self._columns = info['name'], info['columns']

    def info(self) -> dict[str, Any]:
        """What the server says of the gallery: rows, spaces, columns, and more."""
        listed = self._ask('GET', '/info')['galleries']
        found = [one for one in listed if not self.gallery or one['name'] == self.gallery]
        if not found:
            names = ', '.join(one['name'] for one in listed)
            raise RetrievalError(f'{self._client.url} has no gallery {self.gallery!r}, but {names}')
        described: dict[str, Any] = found[0]
        return described

    def __len__(self) -> int:
        """Rows of the gallery."""
        return int(self.info()['rows'])

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        k: int = 10,
        *,
        box: Sequence[float] | None = None,
        space: str | dict[str, float] | None = None,
        explain: bool = False,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with images; arguments and results are those of :meth:`ImageSearch.__call__`.

        Of its further options, ``where``, ``group_by``, ``exclude_same``, ``method`` and ``depth`` are taken; the
        server chooses all others.
        """
        asked = self._search(k, space, explain, options)
        work = partial(self._search_photo, box=box, asked=asked, explain=explain)
        return list(self._pool.map(work, find_images(images)))

    def by_text(
        self, texts: str | Sequence[str], k: int = 10, *, space: str | dict[str, float] | None = None, **options: Any
    ) -> list[SearchResult]:
        """Search with texts; see :meth:`ImageSearch.by_text`."""
        asked = self._search(k, space, False, options)
        written = [texts] if isinstance(texts, str) else list(texts)
        return [
            self._result(Record(metadata=dict(text=text)), self._post('search', dict(asked, text=text)))
            for text in written
        ]

    def similar(
        self,
        ids: Iterable[int],
        k: int = 10,
        *,
        space: str | dict[str, float] | None = None,
        explain: bool = False,
        **options: Any,
    ) -> list[SearchResult]:
        """Search with rows of the gallery, which are left out of their own hits; see :meth:`ImageSearch.similar`."""
        asked = self._search(k, space, explain, options)
        return list(self._pool.map(partial(self._search_row, asked=asked, explain=explain), read_ids(ids).tolist()))

    def identify(
        self, images: ImageInput | Iterable[ImageInput], *, box: Sequence[float] | None = None, **options: Any
    ) -> list[Identification]:
        """Name the class of each image.

        Args:
            images: As for :meth:`__call__`, as is the box.
            box: Look only at this part.
            **options: ``where``, ``space``, ``exclude_same``, and what else ``POST /identify`` takes: ``neighbors``,
                ``temperature``, ``threshold``, ``only``, ``lat``, ``lon``, ``when``.
        """
        asked = self._asked(options.pop('space', None), options.pop('where', None)) | options
        return list(self._pool.map(partial(self._identify_photo, box=box, asked=asked), find_images(images)))

    def rows(self, where: Any = None, sort: str = 'id') -> Iterator[Record]:
        """Rows of the gallery, read page by page; ``sort='-year'`` sorts downwards."""
        asked = [('gallery', self.gallery), ('sort', sort), ('limit', '200')]
        asked += [('where', str(condition)) for condition in read_conditions(where)]
        cursor = None
        while True:
            page = self._ask('GET', f'/rows?{urlencode(asked + ([("cursor", cursor)] if cursor else []))}')
            yield from map(self._record, page['rows'])
            cursor = page['next']
            if cursor is None:
                return

    def photo(self, number: int, side: int = SIDE) -> Image.Image | None:
        """The photo of a row, whose longer side has at most 320, 800 or 1600 pixels; None if the server has none."""
        place = f'{API}/photos/{int(number)}?{urlencode(dict(gallery=self.gallery, side=side))}'
        try:
            return Image.open(io.BytesIO(self._client.ask('GET', place).body))
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    def add(
        self,
        images: Any,
        *,
        label: str | None = None,
        split: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tell: Callable[[str], Any] = lambda message: None,
    ) -> EncodingReport:
        """Send images that the server stores and adds, with one label, split and metadata for all.

        Args:
            images: As for :meth:`__call__`.
            label: Of all of them.
            split: Part of the data set that all of them belong to, as ``train``; None for none.
            metadata: Values by column.
            tell: Told how it goes, in sentences.

        Raises:
            UserError: If the server does not write, or the token may not add.
        """
        items = list(find_images(images))
        asked = dict(gallery=self.gallery, label=label, split=split, metadata=dict(metadata or {}))
        photos, unreadable = {}, []
        for position, item in enumerate(items):
            try:
                photos[position] = _content(item)
            except UnreadableImageError as error:
                unreadable.append(EncodingError(position, item.path, str(error)))
        added = 0
        if photos:
            job = self._run(self._post('jobs/add', asked, list(photos.values()), list(photos)), tell)
            refused = [(int(one['name']), one['reason']) for one in job['unreadable']]
            unreadable += [EncodingError(position, items[position].path, reason) for position, reason in refused]
            added = len(job['result']['ids'])
        return EncodingReport(
            f'{self._client.url} ({self.gallery})',
            size=len(self),
            encoded=added,
            reused=len(items) - added - len(unreadable),
            unreadable=sorted_errors(unreadable),
        )

    def remove(self, ids: Iterable[int] | None = None, where: Any = None) -> int:
        """Take rows out of the gallery, by their ids or those that a filter lets through; gives their number."""
        chosen = {} if ids is None else dict(ids=read_ids(ids).tolist())
        chosen |= {} if where is None else dict(where=[str(one) for one in read_conditions(where)])
        job = self._run(self._post('jobs/remove', dict(gallery=self.gallery, **chosen)), lambda message: None)
        return int(job['result']['removed'])

    def write_results(
        self, results: Sequence[SearchResult], path: str | Path, columns: int = 5, heatmaps: bool = False
    ) -> None:
        """Write results to a file, with photos of hits from the server; see :meth:`ImageSearch.write_results`."""
        info = self.info()
        model = Fingerprint('', '', '', info['model'])
        spaces, counts = info['spaces'], dict(rows=info['rows'])
        manifest = Manifest(0, '', model, info['metric'], spaces, spaces, '', counts=counts)
        write_results(results, path, manifest, None, columns, heatmaps, self._pixels)

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._client.close()

    def __enter__(self) -> RemoteSearch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _search(self, k: int, space: Any, explain: bool, options: dict[str, Any]) -> dict[str, Any]:
        check_count(k, 'k')
        known = {'where', 'group_by', 'exclude_same', 'method', 'depth'}
        unknown = sorted(name for name, value in options.items() if name not in known and value is not None)
        if unknown:
            raise RetrievalError(f'a server takes no {unknown[0]}, but {", ".join(sorted(known))}')
        asked = self._asked(space, options.get('where'))
        names = dict(group_by='group_by', exclude_same='exclude_same', method='rerank', depth='depth')
        asked |= {new: options[old] for old, new in names.items() if options.get(old) is not None}
        return dict(asked, k=k, maps=True)

    def _asked(self, space: Any, where: Any) -> dict[str, Any]:
        """Fields that all questions have."""
        if isinstance(space, Mapping):
            space = ','.join(f'{name}={weight}' for name, weight in space.items())
        conditions = [str(condition) for condition in read_conditions(where)]
        return dict(gallery=self.gallery, where=conditions, **({} if space is None else dict(space=space)))

    def _search_photo(self, item: ImageItem, box: Any, asked: dict[str, Any], explain: bool) -> SearchResult:
        query = _query(item)
        try:
            content = _content(item)
            asked = asked if box is None else dict(asked, boxes=[list(map(float, box))])
            result = self._result(query, self._post('search', asked, [content]))
        except (UnreadableImageError, RefusedError) as error:
            return SearchResult(query, error=_reason(error))
        if explain:
            names = ('gallery', 'space', 'boxes')
            self._explain(result, {name: asked[name] for name in names if name in asked}, [content])
        return result

    def _search_row(self, number: int, asked: dict[str, Any], explain: bool) -> SearchResult:
        found = self._post('search', dict(asked, id=number))
        own = self._ask('GET', f'/rows/{number}?{urlencode(dict(gallery=self.gallery))}')
        result = self._result(self._record(own), found)
        if explain:
            self._explain(result, dict(gallery=self.gallery, id=number))
        return result

    def _identify_photo(self, item: ImageItem, box: Any, asked: dict[str, Any]) -> Identification:
        query = _query(item)
        asked = asked if box is None else dict(asked, boxes=[list(map(float, box))])
        try:
            found = self._post('identify', asked, [_content(item)])
        except (UnreadableImageError, RefusedError) as error:
            return Identification(query, error=_reason(error))
        _describe(query, found['queries'][0])
        return Identification(query, found['answer'], found['votes'])

    def _result(self, query: Record, found: dict[str, Any]) -> SearchResult:
        _describe(query, found['queries'][0])
        return SearchResult(query, [SearchHit(one['rank'], one['score'], self._record(one)) for one in found['hits']])

    def _record(self, row: Mapping[str, Any]) -> Record:
        """A row or a hit of the server's, which writes whole numbers beyond 2**53 - 1 as text."""
        metadata = {
            name: int(value) if self._columns.get(name) == 'INTEGER' else value
            for name, value in row['metadata'].items()
        }
        record = Record(row['path'], row['label'], row['split'], metadata=metadata, id=int(row['id']))
        _describe(record, row)
        record.map_area = record.map_area or row['map_area']
        return record

    def _explain(self, result: SearchResult, asked: dict[str, Any], photos: Sequence[bytes] = ()) -> None:
        """Fill in the matches of hits; each is a question of its own."""
        for hit in result.hits:
            try:
                found = self._post('explain', dict(asked, hit=hit.record.id), photos)
            except RefusedError as error:
                if error.status != 404:
                    raise
                hit.unexplained = error.detail
                continue
            hit.unexplained = found['unexplained']
            if not hit.unexplained:
                hit.matches = [
                    PatchMatch(**dict(one, query_box=_box(one['query_box']), box=_box(one['box'])))
                    for one in found['pairs']
                ]

    def _pixels(self, record: Record) -> np.ndarray | None:
        photo = self.photo(record.id)
        return None if photo is None else np.asarray(photo.convert('RGB'))

    def _run(self, job: dict[str, Any], tell: Callable[[str], Any]) -> dict[str, Any]:
        """A job that has been done; a RetrievalError if it fails."""
        pause, said = 0.05, ''
        while job['state'] not in _ENDED:
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
            job = self._ask('GET', f'/jobs/{job["id"]}')
            if job['message'] != said:
                said = job['message']
                tell(said)
        if job['state'] != 'done':
            raise RetrievalError(f'{self._client.url}: the job is {job["state"]}: {job["message"]}')
        return job

    def _post(
        self, route: str, asked: Mapping[str, Any], photos: Sequence[bytes] = (), names: Sequence[int] = (0,)
    ) -> Any:
        """What a question is answered with, see :func:`write_question`."""
        return self._ask('POST', f'/{route}', *write_question(asked, photos, names))

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
        return self._client.ask(method, API + path, body, headers).json()


def write_question(
    asked: Mapping[str, Any], photos: Sequence[bytes] = (), names: Sequence[int] = (0,)
) -> tuple[bytes, dict[str, str]]:
    """Content and headers of a question: JSON, or a form of it and photos, whose names say nothing of where they lie.

    Args:
        asked: Fields of the route; those that are None are left out.
        photos: Files.
        names: Of the photos, in the same order.
    """
    content = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
    kind = 'application/json'
    if photos:
        boundary = secrets.token_hex(16)
        kind = f'multipart/form-data; boundary={boundary}'
        parts = [('name="request"', content)]
        parts += [(f'name="photo"; filename="{name}"', photo) for name, photo in zip(names, photos)]
        content = b''.join(
            f'--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n'.encode() + body + b'\r\n'
            for head, body in parts
        )
        content += f'--{boundary}--\r\n'.encode()
    return content, {'Content-Type': kind}


def _content(item: ImageItem) -> bytes:
    """A photo as a file; one in memory becomes a PNG. UnreadableImageError if it cannot be read."""
    if isinstance(item.content, bytes):
        return item.content
    if item.content is None:
        return read_content(item.file)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(read_photo(item).pixels[..., ::-1])).save(buffer, 'PNG')
    return buffer.getvalue()


def _query(item: ImageItem) -> Record:
    return Record(path=item.path, label=item.label, split=item.split, metadata=dict(item.metadata))


def _describe(record: Record, told: Mapping[str, Any]) -> None:
    """Fill in the size of a photo, and where the model looked."""
    size, heat = told['size'], told.get('map')
    record.image_size, record.box = None if size is None else (size[0], size[1]), told['box']
    if heat is not None:
        record.similarity_map = np.array(heat['values'], np.uint8).reshape(heat['rows'], heat['columns'])
        record.map_area = heat['area']


def _box(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


def _reason(error: Exception) -> str:
    """Why a photo cannot be used; what is no fault of the photo is raised."""
    if isinstance(error, RefusedError):
        if error.kind != 'no-photo':
            raise error
        return error.detail
    return str(error)
