"""The pages below a path of a site, behind a proxy that passes the path on, or cuts it off."""

import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from server_pages import serving_copy, write_colours

pytest.importorskip('fastapi', reason='needs the extra serve')

from glsim_mm.search.server.roles import Visitor

PREFIX, TOKEN = '/birds', 'a-token-of-the-tests'


@contextmanager
def proxied(address, cuts):
    """The address of a proxy before a server, which sends on each piece of an answer as it comes."""
    port = urlsplit(address).port

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            if not self.path.startswith(PREFIX + '/'):
                self.send_error(404)  # the rest of the site is somebody else's
                return
            path = self.path.removeprefix(PREFIX) if cuts else self.path
            body = self.rfile.read(int(self.headers.get('content-length', 0)))
            upstream = HTTPConnection('127.0.0.1', port)
            upstream.request(self.command, path, body, {**self.headers, 'Connection': 'close'})
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ('connection', 'transfer-encoding', 'date', 'server'):
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read1():
                self.wfile.write(piece)
                self.wfile.flush()
            upstream.close()

        do_POST = do_PATCH = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}{PREFIX}/'
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize('cuts', [False, True])
def test_pages_work_below_a_path(visit, tmp_path, cuts):
    settings = dict(root_path=PREFIX, tokens={TOKEN: Visitor('admin')})
    with (
        serving_copy(write_colours(tmp_path / 'made'), tmp_path / 'served', **settings) as address,
        proxied(address, cuts) as outside,
    ):
        page = visit(f'{outside}#token={TOKEN}')  # which refuses errors in the console, as of the CSP, and other hosts
        page.wait_for_selector('#samples img')
        assert [one['path'] for one in page.context.cookies()] == [PREFIX]
        page.locator('#samples button').first.click()
        page.wait_for_selector('#hits .hit')
        page.wait_for_function('[...document.querySelectorAll("#hits img")].some((one) => one.naturalWidth > 0)')
        page.goto(f'{outside}#page=gallery')
        page.click('[data-job=audit]')
        page.wait_for_selector('.progress .job[data-state=done]')  # told by server-sent events
        page.goto(f'{outside}docs')
        page.wait_for_selector('text=/search')
