"""Who may ask, how often, and what browsers are told: one layer around the whole application."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .asking import ALL_READ
from .measures import Measures
from .problems import Problem
from .roles import API, INFERENCE, RULES, Visitor
from .settings import Settings

CSRF_HEADER = 'x-glsim'
_SESSION_SECONDS = 12 * 3600
_OPEN = frozenset(rule.partition(' ')[2] for rule, needs in RULES.items() if not needs.role)
_PAGE = '/page/'
_SAFE = ('GET', 'HEAD')
_GUESSES = 10  # wrong tokens that one address may send at once; then one in ten seconds
_ADDRESSES = 10_000
_CSP = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    'content-security-policy': _CSP,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(self), geolocation=(), microphone=()',
}


class Sessions:
    """Cookies of the page, which prove that somebody had the token, without holding it.

    Args:
        token: The server's.
        clock: Seconds since 1970.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._token, self._clock = token.encode(), clock

    def is_token(self, given: str) -> bool:
        """Whether this is the token, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(given.encode('utf-8', 'surrogateescape'), self._token)

    def begin(self) -> str:
        """A cookie that is good for twelve hours."""
        what = f'{int(self._clock()) + _SESSION_SECONDS}.{secrets.token_urlsafe(16)}'
        return f'{what}.{self._sign(what)}'

    def is_valid(self, cookie: str) -> bool:
        """Whether the server has given out this cookie, and not too long ago."""
        what, _, signature = cookie.rpartition('.')
        if not hmac.compare_digest(signature.encode('utf-8', 'surrogateescape'), self._sign(what).encode()):
            return False
        return int(what.partition('.')[0]) > self._clock()

    def _sign(self, what: str) -> str:
        return hmac.new(self._token, f'session {what}'.encode('utf-8', 'surrogateescape'), hashlib.sha256).hexdigest()


class Buckets:
    """Token buckets by address.

    Args:
        rate: Requests per second in the long run.
        burst: Requests that may come at once.
        clock: Seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Take one; returns the seconds to wait where there is none, else 0."""
        wait = self.look(address)
        if not wait:
            left, now = self._left[address]
            self._left[address] = left - 1, now
        return wait

    def look(self, address: str) -> float:
        """Seconds to wait until there is one."""
        now = self._clock()
        left, before = self._left.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._rate)
        self._left[address] = left, now
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate


class Door:
    """Lets in requests that carry a token, or the page's cookie; wrong ones only so often.

    Args:
        visitors: Whom each token lets in; none to let everything in, as an admin.
    """

    def __init__(self, visitors: Mapping[str, Visitor]) -> None:
        self._sessions = [(Sessions(token), visitor) for token, visitor in visitors.items()]
        self._guesses = Buckets(0.1, _GUESSES)
        # Browsers send a cookie to all ports of a host: servers with other tokens need another name.
        of_tokens = hmac.new('\n'.join(sorted(visitors)).encode('utf-8', 'surrogateescape'), b'cookie', hashlib.sha256)
        self.cookie = f'glsim_session_{of_tokens.hexdigest()[:8]}'

    def check(self, headers: Headers, method: str, address: str) -> Visitor:
        """Who sends a request; one without a token or a cookie is refused, and so are guesses.

        Raises:
            Problem: If it is not there, or was wrong too often.
        """
        token = _bearer(headers)
        if not self._sessions or token is not None:
            return self._find(token, address)[1]
        cookie = self._read_cookie(headers)
        found = [visitor for sessions, visitor in self._sessions if cookie is not None and sessions.is_valid(cookie)]
        if not found:
            raise _no_token()
        if method not in _SAFE and headers.get(CSRF_HEADER) is None:
            raise Problem(403, 'no-csrf-header', f'with a cookie, send the header {CSRF_HEADER}: 1 too')
        return found[0]

    def begin_session(self, headers: Headers, address: str) -> str | None:
        """The cookie for somebody who has a token; None where none is needed.

        Raises:
            Problem: As :meth:`check`.
        """
        sessions, _ = self._find(_bearer(headers), address)
        return None if sessions is None else sessions.begin()

    def _find(self, token: str | None, address: str) -> tuple[Sessions | None, Visitor]:
        """Who has a token."""
        if not self._sessions:
            return None, Visitor()
        wait = self._guesses.look(address)
        if wait:
            raise _too_many(wait)
        if token is None:
            raise _no_token()
        found = [one for one in self._sessions if one[0].is_token(token)]  # all are compared, whichever it is
        if not found:
            self._guesses.take(address)
            raise _no_token()
        return found[0]

    def _read_cookie(self, headers: Headers) -> str | None:
        try:
            found = SimpleCookie(headers.get('cookie', '')).get(self.cookie)
        except CookieError:
            return None
        return None if found is None else found.value


class Guard:
    """Refuses requests before the application sees them, and adds the headers that keep browsers safe.

    A request must name the server by one of its own names, must not come from a page of another site, must carry a
    token (as ``Authorization: Bearer``, or as the page's cookie, which for all but reading needs the header ``X-GLSim``
    too), and keep to its rate. The page itself and its files are for all: they hold nothing of the galleries. What who
    has come may do, :func:`~glsim_mm.search.server.roles.check_role` knows.

    Args:
        app: The application.
        settings: Names, token and rates.
        measures: Told of refusals and of answers.
        door: Knows the tokens.
    """

    def __init__(self, app: ASGIApp, settings: Settings, measures: Measures, door: Door) -> None:
        self._app, self._settings, self._measures, self._door = app, settings, measures, door
        self._buckets = Buckets(settings.rate, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await self._app(scope, receive, send)
            return
        scope = _with_whole_path(scope, self._settings.root_path)

        async def send_safely(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault('cache-control', 'no-cache' if _is_page(_path_of(scope)) else 'no-store')
                route = getattr(scope.get('route'), 'path', 'other')
                self._measures.requests.labels(route, message['status']).inc()
            await send(message)

        try:
            self._check(scope)
        except Problem as problem:
            self._measures.rejects.labels(problem.kind).inc()
            await problem.response()(scope, receive, send_safely)
            return
        scope[ALL_READ] = all_read = asyncio.Event()
        await self._app(scope, self._limited(receive, all_read), send_safely)

    def _limited(self, receive: Receive, all_read: asyncio.Event) -> Receive:
        """A request's content, as far as it is not too long."""
        read = 0

        async def receive_some() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get('body', b''))
            if read > self._settings.max_request_bytes:
                raise self._too_long()
            if not message.get('more_body', False):
                all_read.set()
            return message

        return receive_some

    def _too_long(self) -> Problem:
        return Problem(413, 'too-long', f'a request has at most {self._settings.max_request_bytes >> 20} MiB')

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), _path_of(scope)
        host = headers.get('host', '')
        if not self._settings.answers_to(host):
            raise Problem(421, 'unknown-host', 'this server is not called so: use the address that it has printed')
        address = scope['client'][0] if scope.get('client') else ''
        wait = self._buckets.take(address)
        if wait:
            raise _too_many(wait)
        if _is_page(path):
            return
        self._check_origin(headers, host)
        length = headers.get('content-length', '')
        if length.isdecimal() and int(length) > self._settings.max_request_bytes:
            raise self._too_long()
        if path not in _OPEN:
            scope['visitor'] = self._door.check(headers, scope['method'], address)

    def _check_origin(self, headers: Headers, host: str) -> None:
        """Refuse what a page of another site has sent, which browsers tell."""
        origin, site = headers.get('origin'), headers.get('sec-fetch-site')
        is_foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if is_foreign or site in ('cross-site', 'same-site'):
            raise Problem(403, 'other-site', 'pages of other sites may not use this server')


def _with_whole_path(scope: Scope, root: str) -> Scope:
    """A request whose path begins with the folder in which a proxy shows the server, also if the proxy cuts it off."""
    path: str = scope['path']
    is_whole = path == root or path.startswith(f'{root}/')
    return {**scope, 'root_path': root, 'path': path if is_whole else root + path} if root else scope


def _path_of(scope: Scope) -> str:
    """The path of a request, without the folder in which a proxy shows the server."""
    path: str = scope['path']
    return path.removeprefix(scope.get('root_path', ''))


def _is_page(path: str) -> bool:
    """Whether this is the page or one of its files, which are the same for all."""
    return path.startswith(_PAGE) or path in _OPEN and not path.startswith((API, INFERENCE))


def _bearer(headers: Headers) -> str | None:
    scheme, _, value = headers.get('authorization', '').partition(' ')
    return value.strip() if scheme.lower() == 'bearer' else None


def _no_token() -> Problem:
    said = 'this server needs its token: send it as Authorization: Bearer TOKEN, or open the address that it printed'
    return Problem(401, 'no-token', said, {'WWW-Authenticate': 'Bearer'})


def _too_many(wait: float) -> Problem:
    seconds = max(1, round(wait + 0.5))
    return Problem(429, 'too-many', f'too many requests: wait {seconds} s', {'Retry-After': str(seconds)})
