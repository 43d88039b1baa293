"""A web server for files of weights."""

import functools
import http.server
import threading
from pathlib import Path

import pytest
import torch


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep test output clean."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch):
    """A web server on the loopback interface for the files of a folder, and its address; torch's cache is empty."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    folder = tmp_path / 'served'
    folder.mkdir()
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{service.server_port}'
        service.shutdown()
