"""Running a server until it is stopped."""

from __future__ import annotations

import logging
import socket
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from ...errors import GLSimError
from .settings import Settings


class _Announcing(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], end_watching: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce, self._end_watching = announce, end_watching

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; who watches a job would otherwise hold this up."""
        self._end_watching()
        await super().shutdown(sockets=sockets)


def listen(settings: Settings) -> socket.socket:
    """A socket that has the server's address, before models are loaded; nobody is let in yet.

    Raises:
        GLSimError: If somebody else has it.
    """
    listening = None
    try:
        where = dict(type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host or None, settings.port, **where)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        return listening
    except OSError as error:
        if listening is not None:
            listening.close()
        raise GLSimError(
            f'{settings.host}:{settings.port} cannot be listened to ({error.strerror or error}): choose another '
            '--port, or --port 0 for any that is free'
        ) from error


def address_of(listening: socket.socket, settings: Settings) -> str:
    """What people type to reach the server; with its token behind the ``#``, which browsers do not send."""
    host = {'0.0.0.0': socket.gethostname(), '::': socket.gethostname()}.get(settings.host, settings.host)
    name = f'[{host}]' if ':' in host else host
    token = '' if settings.main_token is None else f'#token={settings.main_token}'
    return f'http://{name}:{listening.getsockname()[1]}{settings.root_path}/{token}'


def forwarding(settings: Settings) -> dict[str, Any]:
    """What uvicorn must know of proxies; anybody else could name any address, and each would have a rate of its own."""
    return dict(proxy_headers=bool(settings.proxies), forwarded_allow_ips=list(settings.proxies))


def serve(
    app: FastAPI, listening: socket.socket, settings: Settings, show: bool, announce: Callable[[str], Any]
) -> None:
    """Answer requests until Ctrl-C or SIGTERM; those that are being answered then are finished.

    Args:
        app: See :func:`~glsim_mm.search.server.app.create_app`.
        listening: See :func:`listen`.
        settings: The server's.
        show: Open the page in a browser.
        announce: Told the address when the server is ready, not before.
    """
    address = address_of(listening, settings)

    def tell() -> None:
        announce(address)
        if show:
            webbrowser.open(address)

    config = uvicorn.Config(
        app,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        **forwarding(settings),
        timeout_graceful_shutdown=10,
        timeout_keep_alive=30,
    )
    _Announcing(config, tell, app.state.service.jobs.end_watching).run(sockets=[listening])
