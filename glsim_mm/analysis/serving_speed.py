"""How well a server answers many who ask at once: its speed against its model alone, waiting, errors and memory."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import GLSimError
from ..exported import RemoteModel
from ..http_client import HttpClient, RefusedError, ServerAwayError, ServerBusyError
from ..images.photos import find_images, read_content
from ..search.remote_search import API, RemoteSearch, write_question
from .measuring import spread

ANSWERED, BUSY, LOST = 'answered', 'busy', 'lost'
_SECONDS_ALONE, _PASSES_AT_ONCE = 0.25, 2  # of those of a round; so many that the model never waits for the next
_MOST_PHOTOS, _LEAST = 256, 3
_TIMEOUT = 120.0  # twice that of a server
_RESIDENT = re.compile(rb'^process_resident_memory_bytes (\S+)', re.MULTILINE)


class Exchange(NamedTuple):
    """One question and what became of it.

    Attributes:
        client: Number of the one that asked.
        start, end: When it was sent and when its answer was there, in seconds of one clock.
        kind: ``'answered'``; ``'busy'``, where the server says when to come again; ``'lost'``, where nothing came; or
            the status and name of a refusal, as ``'422 no-photo'``.
    """

    client: int
    start: float
    end: float
    kind: str


@dataclass
class ServingSpeed:
    """A server under load, in rounds, before and after each of which its model was measured alone.

    Attributes:
        clients: How many asked at once, each its next question as soon as the last was answered.
        batch: Photos of a pass of the model alone: what the server takes at most, but no more than ``clients``.
        alone: Photos per second of the model, one value more than there are rounds.
        served: Answers per second of each round.
        waited: Seconds of each answer, by round.
        kinds: How many questions ended how, as ``Exchange.kind``.
        memory: Resident bytes of the server, before the first round and after each; empty where it does not tell.
    """

    clients: int
    batch: int
    alone: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    waited: list[list[float]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)

    @property
    def models(self) -> list[float]:
        """Photos per second of the model around each round."""
        return [(before + after) / 2 for before, after in zip(self.alone, self.alone[1:])]

    @property
    def speed(self) -> list[float]:
        """Answers of each round, as a multiple of what the model alone computes in that time."""
        return [own / model for own, model in zip(self.served, self.models)]

    @property
    def waiting(self) -> list[float]:
        """The time that 99 of 100 answers of each round take at most, in times of queue and batch.

        As long as a server cannot be better: ``clients`` photos through the model, of which one is one's own.
        """
        return [
            float(np.quantile(own, 0.99)) * model / self.clients for own, model in zip(self.waited, self.models) if own
        ]

    @property
    def growth(self) -> float | None:
        """By how much the memory has grown, as a share; None where the server does not tell it."""
        return self.memory[-1] / self.memory[0] - 1 if self.memory else None


def measure_serving(
    url: str,
    photos: Any,
    clients: int = 32,
    seconds: float = 20.0,
    rounds: int = 3,
    token: str | None = None,
    exclude: Sequence[str] = (),
    tell: Callable[[str], object] = lambda message: None,
) -> ServingSpeed:
    """Let clients ask a server of a gallery for photos, and compare that with its model alone.

    The model is measured through the inference protocol of the same server, with whole batches one after the other.
    Each client asks one question that does not count first, and ends each round with the answer to its last one, so
    that a question that is lost was lost by the server.

    Args:
        url: Of a server that does nothing else meanwhile, see :class:`~glsim_mm.search.RemoteSearch`.
        photos: Files, folders or patterns, of which 256 photos are asked for in turn.
        clients: How many ask at once.
        seconds: Of a round.
        rounds: How many.
        token: Of the server.
        exclude: Names and patterns of files to leave out.
        tell: Told after each round how it went.

    Raises:
        UserError: If there are no photos, or the server cannot be reached or tells too little of its model.
    """
    files = [read_content(item.file) for item in list(find_images(photos, exclude))[:_MOST_PHOTOS]]
    if not files:
        raise GLSimError(f'{photos} has no photos to ask with')
    with RemoteSearch(url, token) as search:
        info = search.info()
    found = ServingSpeed(clients, min(clients, info['batch']))
    crowd = Crowd(url, files, clients, token, info['name'])
    measure_alone = ModelAlone(url, found.batch, token)
    crowd.ask(0.0)
    found.alone.append(measure_alone(_SECONDS_ALONE * seconds))
    found.memory += resident_of(crowd.client)
    for number in range(rounds):
        exchanges = crowd.ask(seconds, least=_LEAST)
        found.alone.append(measure_alone(_SECONDS_ALONE * seconds))
        found.kinds.update(one.kind for one in exchanges)
        found.served.append(answers_per_second(exchanges))
        found.waited.append([one.end - one.start for one in exchanges if one.kind == ANSWERED])
        found.memory += resident_of(crowd.client)
        memory = f', {found.memory[-1] / 2**20:.0f} MiB' if found.memory else ''
        tell(f'round {number + 1}: {found.speed[-1]:.2f} of the model alone{memory}')
    return found


class Crowd:
    """Clients that each keep a connection, and ask a server for photos in turn.

    Args:
        url: Of the server.
        photos: Files.
        count: How many clients.
        token: Of the server.
        gallery: Which is asked.
        timeout: Seconds after which an answer counts as lost.
    """

    def __init__(
        self,
        url: str,
        photos: Sequence[bytes],
        count: int,
        token: str | None = None,
        gallery: str | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        self.client = HttpClient(url, token, timeout, patience=0.0)  # which shows all that is refused
        self._photos, self._count, self._gallery = photos, count, gallery

    def ask(
        self, seconds: float, see: Callable[[int, bytes], object] = lambda photo, answer: None, least: int = 1
    ) -> list[Exchange]:
        """Let all ask for some seconds, and wait for the last answer; gives what came of it in the order of its ends.

        Args:
            seconds: Time in which questions begin.
            see: Told the place of the photo, and the answer, of each question that is answered.
            least: Questions of each client, also where that takes longer.
        """
        exchanges: list[Exchange] = []  # appending to a list is safe among threads
        deadline = time.monotonic() + seconds

        def work(client: int) -> None:
            for number in itertools.count(1):
                photo = (client + number * self._count) % len(self._photos)
                start = time.monotonic()
                kind, pause = self._ask(photo, see)
                exchanges.append(Exchange(client, start, time.monotonic(), kind))
                if number >= least and time.monotonic() + pause >= deadline:
                    break
                time.sleep(pause)
            self.client.close()

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(self._count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return exchanges

    def _ask(self, photo: int, see: Callable[[int, bytes], object]) -> tuple[str, float]:
        """What became of a question, and the seconds to wait before the next."""
        question = write_question(dict(gallery=self._gallery), [self._photos[photo]])
        try:
            answer = self.client.ask('POST', f'{API}/search', *question)
        except ServerBusyError as error:
            return BUSY, error.pause
        except ServerAwayError:
            return LOST, 0.0
        except RefusedError as error:
            return f'{error.status} {error.kind}'.strip(), 0.0
        see(photo, answer.body)
        return ANSWERED, 0.0


class ModelAlone:
    """Photos per second of the model of a server: whole batches of noise, of which one always waits.

    Args:
        url: Of the server.
        batch: Photos of a pass.
        token: Of the server.
    """

    def __init__(self, url: str, batch: int, token: str | None = None) -> None:
        self._model = RemoteModel(url, token=token, timeout=_TIMEOUT, patience=_TIMEOUT)
        size = (batch, 3, *self._model.info.image_size)
        self._pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        self._output = min(self._model.info.outputs, key=len)

    def __call__(self, seconds: float) -> float:
        """Measure for some seconds, and for four passes at least."""
        ends: list[float] = []
        deadline = time.monotonic() + seconds

        def work() -> None:
            for number in range(10**9):
                self._model(self._pixels, [self._output])
                ends.append(time.monotonic())
                if number and time.monotonic() >= deadline:
                    return

        threads = [threading.Thread(target=work, daemon=True) for _ in range(_PASSES_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ordered = sorted(ends)
        return (len(ordered) - 1) * len(self._pixels) / (ordered[-1] - ordered[0])


def answers_per_second(exchanges: Sequence[Exchange]) -> float:
    """Answers per second while all clients ask: from when each has its first answer until one has its last.

    Answers come a batch at a time, so that the time begins and ends with an answer.
    """
    first, last = {one.client: one.end for one in reversed(exchanges)}, {one.client: one.end for one in exchanges}
    begin, end = max(first.values()), min(last.values())
    counted = sum(begin < one.end <= end for one in exchanges if one.kind == ANSWERED)
    return counted / (end - begin) if end > begin else 0.0


def format_serving(found: ServingSpeed) -> str:
    """What was measured, as ratios, which say something also where other programs want the processors too."""
    errors = [f'{count:,} {kind}' for kind, count in sorted(found.kinds.items()) if kind != ANSWERED]
    asked = sum(found.kinds.values())
    grown = found.growth
    return '\n'.join(
        [
            f'{asked:,} questions of {found.clients} clients in {len(found.served)} rounds; '
            f'passes of {found.batch} photos',
            f'answers, in times of the model alone: {spread(found.speed):.2f}',
            f'99 of 100 answers within, in times of queue and batch: {spread(found.waiting):.2f}',
            f'not answered: {", ".join(errors) or "none"}',
            'memory: ' + ('the server does not tell' if grown is None else f'grown by {grown:.1%}'),
        ]
    )


def resident_of(client: HttpClient) -> list[float]:
    """Resident bytes of a server, as a list of one; empty where it does not tell."""
    with suppress(RefusedError):
        found = _RESIDENT.search(client.ask('GET', f'{API}/metrics').body)
        return [] if found is None else [float(found[1])]
    return []
