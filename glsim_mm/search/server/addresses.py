"""Photos by their addresses: off unless hosts are named, and then one connection to an address that everybody sees.

A server that reads addresses for others can be made to reach what only it can reach (server-side request forgery). So
the host must be one of those named; its name is looked up once, and the connection goes to the very address that was
checked, so that another answer of the name server a moment later leads nowhere (DNS rebinding); there is no redirect,
no proxy, and limits on size and time are of the whole request.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .problems import Problem

_SECONDS = 10.0
_CHUNK = 1 << 16
_NAT64 = ipaddress.ip_network('64:ff9b::/96')
# What older versions of Python call global: protocols, 6to4 and Teredo, which are tunnels, and site-local addresses.
_OTHERS = tuple(map(ipaddress.ip_network, ('192.0.0.0/24', '192.88.99.0/24', '2001::/23', '2002::/16', 'fec0::/10')))


class Fetcher:
    """Reads photos from hosts that were named.

    Args:
        hosts: ``HOST``, whose port is 443 then, or ``HOST:PORT``.
        max_bytes: Largest photo.
        seconds: For the whole of a request, from the first packet on.
    """

    def __init__(self, hosts: Sequence[str], max_bytes: int, seconds: float = _SECONDS) -> None:
        self._hosts = {(name.strip('[]').lower(), int(port or 443)) for name, port in map(_split_port, hosts)}
        self._max_bytes, self._seconds = max_bytes, seconds
        self._context = ssl.create_default_context()
        self._context.sslsocket_class = _Hurried

    def fetch(self, url: str) -> bytes:
        """The content of an address.

        Raises:
            Problem: If the address is not allowed, or cannot be read.
        """
        host, port, target = self._check(url)
        deadline = time.monotonic() + self._seconds
        try:
            connection = http.client.HTTPSConnection(host, port)
            connection.sock = self._connect(host, port, deadline)
            try:
                connection.request('GET', target, headers={'Accept': 'image/*', 'Connection': 'close'})
                return self._read(connection.getresponse())
            finally:
                connection.close()
        except ssl.SSLCertVerificationError as error:
            raise _unreadable(f'its certificate is not valid: {error.verify_message}') from error
        except TimeoutError as error:
            raise _unreadable(f'it took more than {self._seconds:.0f} s') from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unreadable('the connection failed') from error

    def _check(self, url: str) -> tuple[str, int, str]:
        """Host, port and the rest of an address that is allowed."""
        if not url.isascii() or not url.isprintable() or ' ' in url:
            raise _refused('an address has no blanks and no letters but those of ASCII: write others as %C3%A9')
        try:
            parts: SplitResult = urlsplit(url)
            host, port = (parts.hostname or '').lower(), parts.port or 443
        except ValueError as error:
            raise _refused('this is no address') from error
        if parts.scheme != 'https' or not host or '@' in parts.netloc:
            raise _refused('an address begins with https:// and the name of a host, without a password')
        if (host, port) not in self._hosts:
            raise _refused('photos of this host are not read: start the server with --allow-url HOST')
        return host, port, (parts.path or '/') + (f'?{parts.query}' if parts.query else '')

    def _connect(self, host: str, port: int, deadline: float) -> ssl.SSLSocket:
        """An encrypted connection to the first address of a host that answers, if all of them may be reached."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _unreadable('its host is not known') from error
        if not found or not all(is_public(str(place[0])) for *_, place in found):
            raise _refused('its host leads to addresses that are not public')
        for number, (family, kind, protocol, _, place) in enumerate(found, 1):
            connecting = socket.socket(family, kind, protocol)
            try:
                connecting.settimeout(_left(deadline))
                connecting.connect(place)
                encrypted = self._context.wrap_socket(connecting, server_hostname=host)
            except BaseException as error:
                connecting.close()
                if number < len(found) and isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
                    continue
                raise
            assert isinstance(encrypted, _Hurried)
            encrypted.deadline = deadline
            return encrypted
        raise AssertionError('unreachable')

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if 300 <= response.status < 400:
            raise _unreadable('it leads to another address, and redirects are not followed')
        if response.status != 200:
            raise _unreadable(f'its host answers with status {response.status}')
        content = bytearray()
        while len(content) <= self._max_bytes:
            part = response.read(_CHUNK)
            if not part:
                return bytes(content)
            content += part
        raise Problem(413, 'too-long', f'the photo at this address has more than {self._max_bytes >> 20} MiB')


class _Hurried(ssl.SSLSocket):
    """A connection that ends at a certain time, however often a few bytes come."""

    deadline = float('inf')

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(_left(self.deadline))
        return super().recv_into(*args, **options)


def is_public(address: str) -> bool:
    """Whether an address of version 4 or 6 is one that the whole internet reaches.

    Private, shared, loopback, link-local, multicast and reserved ranges are not, neither by themselves nor inside of
    an address of version 6 (``::ffff:10.0.0.1``, ``64:ff9b::10.0.0.1``), and neither are tunnels.
    """
    try:
        found = ipaddress.ip_address(address.partition('%')[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(found.packed[-4:])))
    is_other = found.is_multicast or found.is_reserved or any(found in one for one in _OTHERS)
    return found.is_global and not is_other


def _split_port(host: str) -> tuple[str, str]:
    """Name and port of ``HOST``, ``HOST:PORT``, ``[::1]`` or ``[::1]:PORT``."""
    name, colon, port = host.rpartition(':')
    return (name, port) if colon and port.isdecimal() and (':' not in name or name.endswith(']')) else (host, '')


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _refused(said: str) -> Problem:
    return Problem(403, 'address-refused', said)


def _unreadable(said: str) -> Problem:
    return Problem(502, 'address-unreadable', f'the photo at this address cannot be read: {said}')
