"""How a server is to be run, and what it refuses."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import GLSimError
from .roles import ADMIN, ROLES, Visitor

MAX_PHOTOS = 5
_MIB = 1 << 20
_SHORTEST_TOKEN = 16
_HOST = re.compile(r'([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?')
_OWN_PATHS = ('api', 'docs', 'page', 'v2')
_EVERYWHERE = ('', '0.0.0.0', '::')


@dataclass(frozen=True)
class Settings:
    """What a server listens to, and its limits.

    Attributes:
        host: Address to listen to; on another than a loopback address, there must be a token.
        port: 0 for any that is free.
        token: A token of the role admin; None for none.
        tokens: Further ones, each with whom it lets in. Without any token, everybody may do everything.
        writable: Whether galleries may be changed.
        hosts: Further names by which the server may be called, such as that of a proxy before it.
        proxies: Addresses of proxies that are believed when they say who asks, and whether the connection is encrypted.
        root_path: Path below which a proxy shows the server, such as ``'/birds'``; '' for none.
        allow_urls: Hosts of which photos are read by their addresses, as ``HOST`` or ``HOST:PORT``.
        max_bytes: Largest photo that is taken.
        max_pixels: Photos with more are refused before they are decoded.
        max_request_bytes: Largest request, with all of its photos.
        queue: Requests that may wait for the model; more are refused.
        patience: Seconds that the model waits for a batch to fill.
        seconds: Time limit of a request.
        rate: Requests per second of one address in the long run; ``burst`` may come at once.
        burst: See ``rate``.
    """

    host: str = '127.0.0.1'
    port: int = 8765
    token: str | None = None
    tokens: Mapping[str, Visitor] = field(default_factory=dict)
    writable: bool = False
    hosts: Sequence[str] = ()
    proxies: Sequence[str] = ()
    root_path: str = ''
    allow_urls: Sequence[str] = ()
    max_bytes: int = 20 * _MIB
    max_pixels: int = 40_000_000
    max_request_bytes: int = 64 * _MIB
    queue: int = 64
    patience: float = 0.01
    seconds: float = 60.0
    rate: float = 100.0
    burst: float = 1000.0

    def check(self) -> None:
        """Raise :class:`GLSimError` if others could reach the server without a token, or a host is none."""
        for host in self.allow_urls:
            if not _HOST.fullmatch(host):
                raise GLSimError(f'--allow-url {host}: name a host alone, as upload.wikimedia.org, without https://')
        if not self.visitors and not is_loopback(self.host):
            raise GLSimError(
                f'--host {self.host} can be reached from other machines, which needs a token: give --token-file FILE, '
                'which is written with a new token if it is not there'
            )
        is_path = re.fullmatch(r'/([\w.~-]+)(/[\w.~-]+)*', self.root_path, re.ASCII)
        if self.root_path and (is_path is None or is_path[1] in _OWN_PATHS):
            raise GLSimError(
                f'--root-path {self.root_path} must be a path such as /birds, without a slash at its end, and begin '
                f"with none of {', '.join(_OWN_PATHS)}, which are the server's own"
            )

    @property
    def visitors(self) -> dict[str, Visitor]:
        """Whom each token lets in; none where no token is needed."""
        return {**({} if self.token is None else {self.token: Visitor()}), **self.tokens}

    @property
    def main_token(self) -> str | None:
        """The token of the one who may most, the first of several; None where none is needed."""
        by_role = sorted(self.visitors.items(), key=lambda one: -ROLES.index(one[1].role))
        return by_role[0][0] if by_role else None

    def answers_to(self, host: str) -> bool:
        """Whether a server of this address may be called by the ``Host`` of a request.

        A page of another site whose name is made to lead here (DNS rebinding) keeps its own name, and is refused.
        Addresses in numbers cannot be made to lead anywhere else.
        """
        name = _name_of(host)
        if name in ('localhost', _name_of(self.host), *(one.lower() for one in self.hosts)) or is_loopback(name):
            return True
        if is_loopback(self.host):
            return False
        return _is_number(name) or self.host in _EVERYWHERE and name == socket.gethostname().lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine itself reaches a server at an address."""
    if host == 'localhost':
        return True
    return _is_number(host) and ipaddress.ip_address(host).is_loopback


def read_tokens(path: str | Path) -> dict[str, Visitor]:
    """The tokens in a file, and whom each lets in; a new one is written, for the owner of the file alone, where there
    is no file.

    A line is a token of the role admin, or a role with a token, and behind them, if wanted, the name that the history
    of a gallery shows. Empty lines and those that begin with ``#`` say nothing.

    Raises:
        GLSimError: If a token is shorter than 16 characters, no header can carry it, or a role is unknown.
    """
    file = Path(path).expanduser()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        text = file.read_text(encoding='utf-8')
    else:
        text = f'{secrets.token_urlsafe(32)}\n'
        with os.fdopen(descriptor, 'w', encoding='utf-8') as opened:
            opened.write(text)
    tokens: dict[str, Visitor] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(maxsplit=2)
        if not words or words[0].startswith('#'):
            continue
        role, token, name = (ADMIN, words[0], '') if len(words) == 1 else (*words, '')[:3]
        if role not in ROLES:
            raise GLSimError(f'{path}: line {number} must be a token, or one of {", ".join(ROLES)} and a token')
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or token in tokens:
            raise GLSimError(
                f'{path}: line {number} must hold a token of its own, of {_SHORTEST_TOKEN} or more letters, digits and '
                'signs; name a file that does not exist, and a token is written'
            )
        tokens[token] = Visitor(role, name.strip())
    if not tokens:
        raise GLSimError(f'{path} holds no token: remove it, and one is written')
    return tokens


def _name_of(host: str) -> str:
    """Name or number of a ``Host``, without its port and brackets, in small letters."""
    host = host.strip().lower()
    if host.startswith('['):
        return host[1:].partition(']')[0]
    return host if host.count(':') > 1 else host.partition(':')[0]


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
