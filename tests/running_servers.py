"""Real servers on the loopback interface, in threads of the process that runs the tests."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def listening(app, **options) -> Iterator[str]:
    """The address of an ASGI application that uvicorn runs."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(app, **dict(port=0, log_level='error', timeout_graceful_shutdown=1) | options)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f'http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}'
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def answering(answer) -> Iterator[str]:
    """The address of a server that answers with ``answer(method, path, headers, body)``: status, headers, content."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get('content-length', 0)))
            status, headers, content = answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {**headers, 'Content-Length': len(content)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
