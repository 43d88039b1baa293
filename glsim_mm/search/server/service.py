"""What all routes share: galleries, the models with their queues, threads, and limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request

from ..encoded import Encoded
from ..image_search import Queries
from . import answering, schemas
from .addresses import Fetcher
from .asking import Photographer, read_form, unless_aborted
from .batching import Batcher
from .galleries import ServedGallery
from .guard import Door
from .inference import Found, Job, compute_batch
from .job_files import default_state
from .jobs import JobKind, Jobs
from .measures import Measures, Stopwatch
from .photos import Thumbnails, default_cache
from .problems import Problem, too_busy
from .settings import Settings

Name = Annotated[str | None, Query(max_length=300)]
Where = Annotated[list[str], Query(max_length=50)]


class Service:
    """What all routes share.

    Args:
        galleries: At least one, open for reading; the first is the default.
        settings: Limits.
        cache: Folder of thumbnails; None for the usual one.
        state: Folder of what is remembered of jobs; None for the usual one.
        kinds: Of jobs.
    """

    def __init__(
        self,
        galleries: Sequence[ServedGallery],
        settings: Settings,
        cache: Path | None = None,
        state: Path | None = None,
        kinds: Sequence[JobKind] = (),
    ) -> None:
        self.galleries = {one.name: one for one in galleries}
        self.settings = settings
        self.measures = Measures()
        self.door = Door(settings.visitors)
        self.thumbnails = Thumbnails(default_cache() if cache is None else cache)
        self.jobs = Jobs(kinds, self.galleries, settings, state or default_state(), self.batcher_of)
        self.is_ready = False
        self._batchers: dict[int, Batcher[Job, Found]] = {}
        self._photographer: Photographer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._fetcher = Fetcher(settings.allow_urls, settings.max_bytes) if settings.allow_urls else None
        self._fetchers: ThreadPoolExecutor | None = None
        self._studies: ThreadPoolExecutor | None = None
        self._studying = 0
        self._busy = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Threads and queues, as long as the server runs."""
        threads = min(4, os.cpu_count() or 1)
        reads_places = any(one.prior is not None for one in self.galleries.values())
        self._photographer = Photographer(self.settings, threads, reads_places)
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix='readers')  # thumbnails do not hold up searches
        self._studies = ThreadPoolExecutor(1, thread_name_prefix='studies')
        self._fetchers = ThreadPoolExecutor(threads, thread_name_prefix='addresses')  # nor do other people's servers
        try:
            for one in self.galleries.values():
                if id(one.encoder) not in self._batchers:
                    batcher = self._batchers[id(one.encoder)] = self._batcher(one)
                    await batcher.start()
            self.jobs.start()
            self.is_ready = True
            yield
        finally:
            self.is_ready = False
            await asyncio.to_thread(self.jobs.stop)
            for batcher in self._batchers.values():
                await batcher.stop()
            self._batchers.clear()
            self._photographer.close()
            self._readers.shutdown(wait=True, cancel_futures=True)
            self._fetchers.shutdown(wait=True, cancel_futures=True)
            self._studies.shutdown(wait=True, cancel_futures=True)

    def _batcher(self, served: ServedGallery) -> Batcher[Job, Found]:
        encoder, own = served.encoder, self.settings
        compute = partial(compute_batch, encoder)
        return Batcher(compute, encoder.usual_batch, own.patience, own.queue, self.measures, own.seconds)

    def batcher_of(self, served: ServedGallery) -> Batcher[Job, Found]:
        """The queue of a gallery's model.

        Raises:
            Problem: If the server does not run yet.
        """
        found = self._batchers.get(id(served.encoder))
        if found is None:
            raise too_busy('the server is not ready yet')
        return found

    def gallery(self, name: str | None) -> ServedGallery:
        """A gallery by its name, the first for None.

        Raises:
            Problem: If there is none of this name.
        """
        if name is None:
            return next(iter(self.galleries.values()))
        found = self.galleries.get(name)
        if found is None:
            raise Problem(404, 'no-such-gallery', f'there is no gallery of this name, but {", ".join(self.galleries)}')
        return found

    async def read(self, function: Any, *arguments: Any) -> Any:
        """Call what reads galleries or photos, to be sent out, in a thread."""
        if self._readers is None:
            raise too_busy('the server is not ready yet')
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    async def study(self, function: Any, *arguments: Any) -> Any:
        """Call what looks at a whole gallery, in turn, so that readers need not wait for it.

        Raises:
            Problem: If it takes too long; it goes on, and what it keeps is there for those who ask again.
        """
        if self._studies is None or self._studying >= self.settings.queue:
            raise too_busy('too many ask for the classes of galleries: try again in a moment')
        self._studying += 1
        work = asyncio.get_running_loop().run_in_executor(self._studies, function, *arguments)
        work.add_done_callback(self._end_study)
        done, _ = await asyncio.wait({work}, timeout=self.settings.seconds)
        if not done:
            raise too_busy('the gallery is still being looked at: ask again in a while', 10)
        return work.result()

    def _end_study(self, work: asyncio.Future[Any]) -> None:
        self._studying -= 1
        if not work.cancelled():
            work.exception()  # which nobody may have waited for

    async def search(self, function: Any, *arguments: Any) -> Any:
        """Call what answers questions in a thread that no thumbnail takes."""
        if self._photographer is None:
            raise too_busy('the server is not ready yet')
        return await self._photographer.run(function, *arguments)

    async def ask(self, request: Request, kind: type[schemas.Asked], answer: Any, patches: bool = False) -> Any:
        """Read a request, make queries of it, and answer them with ``answer(served, queries, asked, stopwatch)``.

        Raises:
            Problem: If it is refused.
        """
        return await self.attend(request, self._ask(request, kind, answer, patches))

    async def attend(self, request: Request, work: Coroutine[Any, Any, Any]) -> Any:
        """What a question is answered with, unless too many are, it takes too long, or its sender goes away.

        Raises:
            Problem: Then.
        """
        if self._busy >= self.settings.queue:
            work.close()
            raise too_busy(f'{self._busy} requests are being answered: try again in a moment')
        self._busy += 1
        try:
            return await unless_aborted(request, work, self.settings.seconds)
        finally:
            self._busy -= 1

    async def _ask(self, request: Request, kind: type[schemas.Asked], answer: Any, patches: bool) -> Any:
        stopwatch = Stopwatch(self.measures)
        with stopwatch.stage('read'):
            asked, photos = await read_form(request, kind, self.settings)
        served = self.gallery(asked.gallery)
        photos = await self.photos_of(asked, photos, stopwatch)
        queries, encoded = await self.queries_of(served, asked, photos, stopwatch, patches)
        if patches:  # which may take the model once more, for the photos of hits
            found = await self.batcher_of(served).call(answer, served, queries, asked, stopwatch)
        else:
            found = await self.search(answer, served, queries, asked, stopwatch)
        if encoded is not None and 'queries' in found:
            answering.with_errors(found, encoded)
        found['milliseconds'] = stopwatch.finish()
        return found

    async def photos_of(self, asked: schemas.Asked, photos: list[bytes], stopwatch: Stopwatch) -> list[bytes]:
        """Photos of a request: those that came with it, or the one at its address; none where it asks otherwise.

        Raises:
            Problem: If it asks with nothing, or in several ways, or the address is refused.
        """
        if sum((bool(photos), *(one is not None for one in (asked.id, asked.text, asked.url)))) != 1:
            raise Problem(422, 'wrong-request', 'ask with photos, or with the id of a row, or with a text')
        if asked.url is None:
            return photos
        if self._fetcher is None:
            raise Problem(403, 'no-addresses', 'this server reads no photos by address: start it with --allow-url HOST')
        with stopwatch.stage('fetch'):
            return [await asyncio.get_running_loop().run_in_executor(self._fetchers, self._fetcher.fetch, asked.url)]

    async def queries_of(
        self,
        served: ServedGallery,
        asked: schemas.Asked,
        photos: Sequence[bytes],
        stopwatch: Stopwatch,
        patches: bool = False,
        known: Encoded | None = None,
    ) -> tuple[Queries, Encoded | None]:
        """What a request asks a gallery, and what the model has made of its photos, None where there are none.

        Args:
            served: The gallery.
            asked: The request.
            photos: Its photos; without, it asks with a row or a text.
            stopwatch: Of the request.
            patches: Whether patches of photos are needed.
            known: What the model of the gallery has made of these photos already.

        Raises:
            Problem: If no photo can be used, or there is no such row.
        """
        if self._photographer is None:
            raise too_busy('the server is not ready yet')
        batcher = self.batcher_of(served)
        with stopwatch.stage('model'):
            if photos:
                encode = self._photographer.encode
                made = known or await encode(served.encoder, batcher, photos, asked.boxes, patches)
                return await self.search(_photo_queries, served, made, asked), made
            if asked.text is not None:
                return await batcher.call(_text_queries, served, asked), None
            return await self.search(_row_queries, served, asked), None


def _photo_queries(served: ServedGallery, encoded: Encoded, asked: schemas.Asked) -> Queries:
    served.newest()
    return served.search.encoded_queries(encoded, answering.space_of(asked))


def _row_queries(served: ServedGallery, asked: schemas.Asked) -> Queries:
    served.record(asked.id if asked.id is not None else -1)
    return served.search.row_queries([asked.id or 0], answering.space_of(asked))


def _text_queries(served: ServedGallery, asked: schemas.Asked) -> Queries:
    served.newest()
    return served.search.text_queries([asked.text or ''], answering.space_of(asked))
