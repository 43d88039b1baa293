"""The API against its own description: made-up requests, right and wrong, are answered as it says, never with a bug."""

from collections import Counter
from contextlib import suppress

import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')
pytest.importorskip('schemathesis', reason='needs schemathesis')

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served_birds import API, build_birds, serve_birds

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope='module')
def client(tmp_path_factory):
    location = build_birds(tmp_path_factory.mktemp('schema') / 'birds', 2)
    with serve_birds(location, writable=True, rate=1e6, burst=1e6, allow_urls=('photos.example',)) as opened:
        yield opened


@pytest.fixture(scope='module')
def operations(client):
    load_all_checks()
    schema = schemathesis.openapi.from_dict(client.get(f'{API}/openapi.json').json())
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize(
    'mode, examples', [(GenerationMode.POSITIVE, 3), (GenerationMode.NEGATIVE, 2)], ids=['right', 'wrong']
)
def test_answers_are_as_they_are_described(client, operations, mode, examples):
    seen: Counter[int] = Counter()
    for operation in operations:

        @seed(0)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case):
            if mode is GenerationMode.POSITIVE:  # of a gallery that is there, so that more than its name is looked at
                for part in (case.query, case.body):
                    if isinstance(part, dict):
                        part.pop('gallery', None)
                if case.headers and 'If-Match' in case.headers:
                    case.headers['If-Match'] = (
                        f'"{client.app.state.service.gallery(None).newest().manifest.generation}"'
                    )
            sent = requests.Request(**case.as_transport_kwargs('http://localhost:8765')).prepare()
            if len(sent.url) > 60_000:  # more than the client sends
                return
            response = client.request(sent.method, sent.url, content=sent.body, headers=dict(sent.headers))
            seen[response.status_code] += 1
            assert response.status_code != 500, (response.text, case)
            case.validate_response(response, checks=CHECKS)

        with suppress(Unsatisfiable):  # nothing can be wrong about it
            ask()
    assert seen[200 if mode is GenerationMode.POSITIVE else 422] > len(operations) / 2, seen
