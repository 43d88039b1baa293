"""Requests to one server over connections that stay open, with time limits, and patience where it is busy."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .errors import GLSimError, one_line

_BUSY = (429, 502, 503, 504)
_PAUSE = 1.0  # seconds, where a busy server does not say how many
_MAX_ANSWER = 512 << 20


class ServerAwayError(GLSimError):
    """A server that cannot be reached, gives no answer in time, or stays busy; the same may work later."""


class ServerBusyError(ServerAwayError):
    """A server that answers that it is busy.

    Args:
        message: The whole sentence.
        pause: Seconds after which it wants to be asked again.
    """

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


class RefusedError(GLSimError):
    """A request that a server refuses.

    Args:
        status: Of HTTP.
        kind: Short name for programs of glsim serve, as ``'no-photo'``; empty where it says none.
        detail: What the server says, in one line.
        message: The whole sentence.
    """

    def __init__(self, status: int, kind: str, detail: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.detail = status, kind, detail


class Answer(NamedTuple):
    """What a server answers a request that it does not refuse."""

    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The content as JSON; a GLSimError if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise GLSimError(
                'the server answers with no JSON: it is another one, or a proxy stands before it'
            ) from error


class HttpClient:
    """A client of one server; threads may share it, each has a connection of its own.

    Redirects are not followed, so that a token goes nowhere else, and proxies of the environment are not asked.

    Args:
        url: ``http://`` or ``https://`` with host, port and path; certificates are checked.
        token: Sent as ``Authorization: Bearer``.
        timeout: Seconds for connecting, for an answer to begin, and then for all of it to come.
        patience: Seconds in which requests are sent again to a server that says that it is busy (429, 502, 503, 504),
            when it wants them (``Retry-After``).

    Raises:
        GLSimError: If the address is none.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 30.0, patience: float = 30.0) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or '', parts.port
        except ValueError:
            parts, self._host = urlsplit(''), ''
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme not in ('http', 'https') or not self._host or not plain or not url.isprintable():
            raise GLSimError(f'{one_line(url, 200)} is no address of a server, such as http://127.0.0.1:8765')
        self.url = url.rstrip('/')
        self.path = parts.path.rstrip('/')
        self._is_safe = parts.scheme == 'https'
        self._headers = {} if token is None else {'Authorization': f'Bearer {token}'}
        self._timeout, self._patience = timeout, patience
        self._own = threading.local()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request below the path of the address and wait for its answer.

        Raises:
            ServerAwayError: If none comes.
            RefusedError: If it is another status than 2xx.
        """
        deadline = time.monotonic() + self._patience
        while True:
            status, answer = self._send(method, self.path + path, body, {**self._headers, **(headers or {})})
            if 200 <= status < 300:
                return answer
            kind, detail = _reason(answer)
            if status not in _BUSY:
                said = f': {detail}' if detail else ''
                raise RefusedError(status, kind, detail, f'{self.url} refuses this with status {status}{said}')
            # Clients that were refused together do not come back together.
            pause = _retry_after(answer.headers) * random.uniform(1.0, 1.2)
            if time.monotonic() + pause > deadline:
                raise ServerBusyError(f'{self.url} is busy or away ({detail or status}): try again later', pause)
            time.sleep(pause)

    def close(self) -> None:
        """Close the connection of this thread."""
        self._drop()

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Answer]:
        while True:
            connection, is_old = self._connection()
            try:
                try:
                    connection.request(method, path, body, headers)
                    response = connection.getresponse()
                except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                    if not is_old:
                        raise
                    self._drop()  # the server has closed a connection that was not used for a while
                    continue
                content = self._read(response)
                if response.will_close:
                    self._drop()
                return response.status, Answer(content, {name.lower(): value for name, value in response.getheaders()})
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                reason = 'it does not answer in time' if isinstance(error, TimeoutError) else one_line(error, 200)
                raise ServerAwayError(
                    f'{self.url} cannot be reached ({reason or type(error).__name__}): is it running, and is this its '
                    'address?'
                ) from error
            except BaseException:
                self._drop()
                raise

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        deadline, parts, size = time.monotonic() + self._timeout, [], 0
        while part := response.read1(1 << 20):
            parts.append(part)
            size += len(part)
            if size > _MAX_ANSWER:
                raise GLSimError(f'{self.url} answers with more than {_MAX_ANSWER >> 20} MiB')
            if time.monotonic() > deadline:
                raise TimeoutError
        response.read()  # nothing more, but lets the connection be used again
        return b''.join(parts)

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """That of this thread, and whether it was used before."""
        found = getattr(self._own, 'connection', None)
        if found is not None:
            return found, True
        if self._is_safe:
            context = ssl.create_default_context()
            found = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        else:
            found = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        self._own.connection = found
        return found, False

    def _drop(self) -> None:
        found = getattr(self._own, 'connection', None)
        self._own.connection = None
        if found is not None:
            with suppress(OSError):
                found.close()


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait; dates, which clocks contradict, count as none."""
    said = headers.get('retry-after', '').strip()
    return float(said) if said.isascii() and said.isdecimal() and len(said) < 6 else _PAUSE


def _reason(answer: Answer) -> tuple[str, str]:
    """What a server says of an error, by a name and in words: problem+json, or ``error`` of the inference protocol."""
    with suppress(GLSimError):
        found = answer.json()
        if isinstance(found, dict):
            kind = str(found.get('type') or '').rpartition(':')[2]
            return kind, one_line(found.get('detail') or found.get('error') or '', 300)
    return '', ''
