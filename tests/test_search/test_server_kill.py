"""A real server that is killed, and then stopped, while it adds photos and changes labels: nothing is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

import httpx2
from served_birds import API, build_colours
from test_server_jobs import photo, watch

from retrieval.gallery import open_gallery

COUNT = 40


@contextmanager
def running(folder):
    """A server in a process of its own and a client; the process is killed at the end, if it still runs."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1]), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, str(here / 'slow_server.py'), str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONPATH': paths}
    ) as server:
        try:
            with httpx2.Client(base_url=server.stdout.readline().strip(), timeout=60) as client:
                yield server, client
        finally:
            server.kill()


def row_count(client):
    return client.get(f'{API}/rows', params=dict(limit=1)).json()['total']


def test_kill_minus_nine_in_the_middle_of_adding_and_labelling(tmp_path):
    folder = build_colours(tmp_path).parent
    said = []  # labels of row 0 that the server has confirmed

    def label(client, generation):
        try:
            for number in range(10_000):
                body, headers = dict(values={'label': f'bird {number}'}), {'if-match': f'"{generation}"'}
                answer = client.patch(f'{API}/rows/0', json=body, headers=headers)
                if answer.status_code == 200:  # else rows were added between two looks, or the server ends
                    said.append(f'bird {number}')
                generation = answer.json()['generation']
                time.sleep(0.01)
        except httpx2.TransportError:
            return

    with running(folder) as (server, client):
        files = [('photo', (f'{number}.png', photo())) for number in range(COUNT)]
        job = client.post(f'{API}/jobs/add', files=files).json()
        labelling = threading.Thread(target=label, args=(client, 0))
        labelling.start()
        while row_count(client) < 6 + 8 or len(said) < 3:
            time.sleep(0.05)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        labelling.join()
    with open_gallery(folder / 'gallery') as gallery:
        gallery.verify()
        there = len(gallery)
        assert 6 + 8 <= there < 6 + COUNT
        number = int(said[-1].split()[1])  # the next may have been written, and its answer lost
        assert gallery.records([0])[0].label in (said[-1], f'bird {number + 1}')
        assert gallery.history()[-1].number >= len(said)
    with running(folder) as (server, client):
        assert client.get(f'{API}/jobs/{job["id"]}').json()['state'] == 'interrupted'
        assert row_count(client) == there
        assert client.post(f'{API}/jobs/{job["id"]}/resume').status_code == 202
        with client.stream('GET', f'{API}/jobs/{job["id"]}/events') as events:
            lines = events.iter_lines()
            assert next(lines) == 'event: job'
            server.send_signal(signal.SIGTERM)
            assert list(lines)[-1] == ''  # the stream ends whole: who watches does not hold up the end of the server
        server.wait(60)
    with running(folder) as (server, client):
        assert client.get(f'{API}/jobs/{job["id"]}').json()['state'] == 'interrupted'
        assert client.post(f'{API}/jobs/{job["id"]}/resume').status_code == 202
        done = watch(client, job)[-1]
        assert done['state'] == 'done' and done['result']['added'] == COUNT and not done['result']['duplicates'], done
    with open_gallery(folder / 'gallery') as gallery:
        gallery.verify()
        assert len(gallery) == 6 + COUNT
        added = [path for path in gallery.column('path')[1] if path.startswith('added-by-glsim/')]
        assert len(set(added)) == COUNT and all((folder / 'photos' / path).is_file() for path in added)
        assert len(list((folder / 'photos' / 'added-by-glsim').rglob('*.png'))) == COUNT
