"""A web server on this machine that does what it is told, also badly."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server has and how it behaves.

    ``files`` are served by name; ``ranges`` says whether it sends parts; the n-th answer breaks off after ``cuts[n]``
    bytes; the n-th request is answered with ``status[n]`` unless that is None; ``redirects`` lead elsewhere.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int | None] = field(default_factory=list)
    status: list[int | None] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[str | None] = field(default_factory=list)
    url: str = ''


@contextmanager
def file_server(**settings) -> Iterator[Behaviour]:
    """Serve while the block runs; ``requests`` of what it yields are the Range headers that came."""
    behaviour = Behaviour(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, behaviour)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    behaviour.url = f'http://127.0.0.1:{server.server_address[1]}'
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, behaviour: Behaviour) -> None:
    """Answer one request."""
    asked = handler.headers.get('Range')
    number = len(behaviour.requests)
    behaviour.requests.append(asked)
    name = handler.path.lstrip('/')
    status = behaviour.status[number] if number < len(behaviour.status) else None
    if status is None and name in behaviour.redirects:
        handler.send_response(302)
        handler.send_header('Location', behaviour.redirects[name])
        handler.end_headers()
        return
    if status is not None or name not in behaviour.files:
        handler.send_error(status or 404)
        return
    content = behaviour.files[name]
    start = int(re.match(r'bytes=(\d+)-', asked).group(1)) if asked and behaviour.ranges else 0
    if start and start >= len(content):
        handler.send_response(416)
        handler.send_header('Content-Range', f'bytes */{len(content)}')
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
    handler.send_header('Content-Length', str(len(content) - start))
    handler.end_headers()
    cut = behaviour.cuts[number] if number < len(behaviour.cuts) else None
    handler.wfile.write(content[start:] if cut is None else content[start : start + cut])
