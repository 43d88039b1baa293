"""A crowd that asks a real server at once: every question is answered, or told when to come again."""

import io
import json
import socket
import threading
from collections import Counter
from urllib.request import urlopen

import numpy as np
import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from mean_encoder import MeanEncoder
from running_servers import listening
from served_birds import BIRDS, build_birds, draw_bird

from glsim_mm.analysis.serving_speed import ANSWERED, BUSY, Crowd
from glsim_mm.search import ImageSearch
from glsim_mm.search.remote_search import API, write_question
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import ServedGallery
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import open_gallery


class HeldEncoder(MeanEncoder):
    """Waits, where it is told so, until the server has refused somebody."""

    refused = threading.Event()
    refused.set()

    def forward(self, inputs):
        assert self.refused.wait(60)
        return super().forward(inputs)


class NotingCrowd(Crowd):
    """Lets the model go on once somebody was refused."""

    def _ask(self, photo, see):
        kind, pause = super()._ask(photo, see)
        if kind == BUSY:
            HeldEncoder.refused.set()
        return kind, pause


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """The address of a server with a short queue, and photos."""
    location = build_birds(tmp_path_factory.mktemp('birds'), 6)
    photos = []
    for number in range(12):
        buffer = io.BytesIO()
        picture = draw_bird(list(BIRDS)[number % 3], 100 + number)
        picture.resize((40 + 30 * number, 48)).save(buffer, 'PNG')
        photos.append(buffer.getvalue())
    served = ServedGallery('birds', ImageSearch(open_gallery(location), HeldEncoder()))
    settings = Settings(queue=16, rate=1e6, burst=1e6)
    with listening(create_app([served], settings, location.parent / 'cache', location.parent / 'state')) as url:
        yield url, photos
    served.search.close()


def measures(url):
    """What Prometheus reads, by name."""
    lines = urlopen(f'{url}{API}/metrics').read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(' ') for line in lines if line[0] != '#')}


def go_away(url, photo, part):
    """Send a part of a question, from 0 to 1, and close the connection."""
    host, port = url.removeprefix('http://').split(':')
    body, headers = write_question({}, [photo])
    head = f'POST {API}/search HTTP/1.1\r\nHost: {host}\r\nContent-Type: {headers["Content-Type"]}\r\n'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f'{head}Content-Length: {len(body)}\r\n\r\n'.encode() + body[: int(part * len(body))])


def test_a_crowd_gets_its_answers_while_others_go_away(server):
    url, photos = server
    alone, wrong = {}, []

    def see(photo, body):
        found = json.loads(body)
        own = [(hit['id'], hit['score']) for hit in found['hits']], found['answer']['sentence']
        known = alone.setdefault(photo, own)
        same = [one[0] for one in own[0]] == [one[0] for one in known[0]] and own[1] == known[1]
        if not same or not np.allclose(*([hit[1] for hit in one[0]] for one in (own, known)), atol=1e-5):
            wrong.append((own, known))

    one = Crowd(url, photos, 1)
    for number in range(len(photos)):
        see(number, one.client.ask('POST', f'{API}/search', *write_question({}, [photos[number]])).body)
    strangers = [
        threading.Thread(target=go_away, args=(url, photos[number % len(photos)], part))
        for number, part in enumerate([0.1, 0.5, 1.0] * 4)
    ]
    for thread in strangers:
        thread.start()
    HeldEncoder.refused.clear()
    exchanges = NotingCrowd(url, photos, 24).ask(1.0, see)
    for thread in strangers:
        thread.join()
    kinds = Counter(exchange.kind for exchange in exchanges)
    assert kinds[ANSWERED] and kinds[BUSY] and kinds[ANSWERED] + kinds[BUSY] == len(exchanges)
    assert not wrong
    found = measures(url)
    assert found['glsim_queue'] == 0 and found['glsim_rejects_total{kind="aborted"}']
    assert 'glsim_rejects_total{kind="bug"}' not in found
    assert found['glsim_batch_size_sum'] > found['glsim_batch_size_count']
