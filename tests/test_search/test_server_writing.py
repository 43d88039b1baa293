"""``glsim serve --writable``: roles, labels, changes and taking them back."""

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from served_birds import API, build_colours, refused, serve_birds
from starlette.routing import Mount, Route
from tiny_run import call_tool

from glsim_mm.errors import GLSimError
from glsim_mm.search.server.roles import RULES, Visitor, rule_of
from glsim_mm.search.server.settings import Settings, read_tokens
from retrieval.gallery import open_gallery

TOKENS = {
    f'{role}-token-of-the-tests': Visitor(role, name) for role, name in (('read', ''), ('label', 'anna'), ('admin', ''))
}


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    return build_colours(tmp_path_factory.mktemp('original') / 'birds')


@pytest.fixture
def location(original, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(original, tmp_path / 'birds' / 'gallery'))


@pytest.fixture(scope='module')
def unchanged(original):
    """A client for tests that write nothing."""
    with serve_birds(original, writable=True) as opened:
        yield opened


def generation(client):
    return client.get(f'{API}/rows', params=dict(limit=1)).json()['generation']


def send(client, method, route, at=None, **body):
    at = generation(client) if at is None else at
    return client.request(method, f'{API}/{route}', json=body, headers={'if-match': f'"{at}"'})


def labels(location):
    with open_gallery(location) as gallery:
        gallery.verify()
        return dict(zip(*(list(one) for one in gallery.column('label'))))


def test_rows_are_changed_and_changed_back(client, location):
    before = labels(location)
    done = send(client, 'PATCH', 'rows/0', values={'label': 'Wren', 'year': 2020, 'split': None})
    assert done.status_code == 200 and done.headers['etag'] == f'"{done.json()["generation"]}"'
    assert done.json() == dict(gallery='birds', generation=generation(client), changed=1, change=1)
    row = client.get(f'{API}/rows/0').json()  # seen at once, not after a second
    assert (row['label'], row['metadata'], row['split']) == ('Wren', {'year': 2020}, None)
    again = send(client, 'PATCH', 'rows/0', values={'label': 'Wren'}).json()
    assert (again['changed'], again['change']) == (0, None)
    assert send(client, 'POST', 'rows:label', ids=[1, 2, 5], label='Robin').json()['changed'] == 3
    assert send(client, 'POST', 'rows:label', where=['label=Robin', 'id<3'], label=None).json()['changed'] == 2
    assert labels(location) == before | {0: 'Wren', 1: None, 2: None, 5: 'Robin'}
    listed = client.get(f'{API}/changes').json()['changes']
    assert [(one['id'], one['what'], one['rows'], one['can_undo']) for one in listed] == [
        (3, 'label: no value', 2, True),
        (2, 'label: Robin', 3, False),  # of rows that were changed since
        (1, 'label, year', 1, True),
    ]
    assert 'row' in refused(send(client, 'POST', 'undo/2'), 409, 'cannot-undo')
    assert send(client, 'POST', 'undo/2', skip_changed=True).json()['changed'] == 1
    for number in (3, 1):
        assert send(client, 'POST', f'undo/{number}').json()['changed'] == (2 if number == 3 else 1)
    listed = {one['id']: one for one in client.get(f'{API}/changes').json()['changes']}
    assert listed[1]['undone'] and not listed[1]['can_undo'] and listed[6]['what'].startswith('took back change 1')
    assert labels(location) == before | {1: 'Robin', 2: 'Robin'}
    assert send(client, 'POST', 'undo/6').json()['changed'] == 1 and labels(location)[0] == 'Wren'
    refused(send(client, 'POST', 'undo/99'), 404, 'no-such-change')


def test_what_is_based_on_another_generation_is_refused(client, location):
    now = generation(client)
    assert client.patch(f'{API}/rows/0', json=dict(values={'label': 'Wren'})).status_code == 428
    refused(client.patch(f'{API}/rows/0', json={}, headers={'if-match': '*'}), 428, 'needs-generation')
    assert send(client, 'PATCH', 'rows/0', values={'label': 'Wren'}).status_code == 200
    stale = send(client, 'POST', 'rows:label', now, ids=[0], label='Robin')
    assert refused(stale, 412, 'changed-meanwhile') and stale.json()['generation'] == generation(client) == now + 1
    with open_gallery(location, writable=True) as other:  # another process, as with glsim label
        other.set_labels([1], 'Robin')
        assert 'being written by process' in refused(
            send(client, 'PATCH', 'rows/0', now + 1, values={'label': 'Crow'}), 409, 'being-written'
        )
    refused(send(client, 'PATCH', 'rows/0', now + 1, values={'label': 'Crow'}), 412, 'changed-meanwhile')
    assert labels(location)[0] == 'Wren' and str(location) not in stale.text


@pytest.mark.parametrize(
    'method, route, body, status',
    [
        ('PATCH', 'rows/99', dict(values={'label': 'Wren'}), 404),
        ('PATCH', 'rows/0', dict(values={'path': '../../etc/passwd'}), 422),
        ('PATCH', 'rows/0', dict(values={'Path': '/etc/passwd'}), 422),
        ('PATCH', 'rows/0', dict(values={'content_hash': 'x'}), 422),
        ('PATCH', 'rows/0', dict(values={'id': 3}), 422),
        ('PATCH', 'rows/0', dict(values={'label': ' '}), 422),
        ('PATCH', 'rows/0', dict(values={'label': 3}), 422),
        ('PATCH', 'rows/0', dict(values={'x"; DROP TABLE records': 3}), 422),
        ('PATCH', 'rows/0', dict(values={}), 422),
        ('PATCH', 'rows/0', dict(values={'year': [1]}), 422),
        ('PATCH', 'rows/0', dict(values={'year': 1}, gallery='other'), 404),
        ('POST', 'rows:label', dict(ids=[0, 99], label='Wren'), 404),
        ('POST', 'rows:label', dict(ids=[0], where=['id=0'], label='Wren'), 422),
        ('POST', 'rows:label', dict(label='Wren'), 422),
        ('POST', 'rows:label', dict(where=[], label='Wren'), 422),
        ('POST', 'rows:label', dict(where=['label=Dodo'], label='Wren'), 404),
        ('POST', 'rows:label', dict(ids=[0]), 422),
        ('POST', 'rows:label', dict(ids=list(range(100_001)), label='Wren'), 422),
    ],
)
def test_what_cannot_be_written_is_refused(unchanged, method, route, body, status):
    before = generation(unchanged)
    response = send(unchanged, method, route, **body)
    assert response.status_code == status, response.text
    assert response.json()['detail'] and generation(unchanged) == before


def test_every_route_has_a_rule(unchanged):
    app = unchanged.app
    routes = [one for one in app.routes if isinstance(one, Route)]
    assert {type(one) for one in app.routes} <= {Mount, *map(type, routes)}
    assert [one.path for one in app.routes if isinstance(one, Mount)] == ['/page']
    for route in routes:
        for method in route.methods - {'HEAD'}:
            assert rule_of(method, route.path) is not None, f'{method} {route.path} has no rule in roles.py'
            is_open = not rule_of(method, route.path).role
            assert not is_open or method == 'GET' or route.path == f'{API}/session', route.path


def test_roles_may_do_what_the_table_says(start):
    ranks = ('', 'read', 'label', 'admin')
    with start(tokens=TOKENS) as client:
        for route in [one for one in client.app.routes if isinstance(one, Route)]:
            for method in route.methods - {'HEAD'}:
                rule = RULES[f'{method} {re.sub("{[^}]*}", "{}", route.path)}']
                path = re.sub('{[^}]*}', '0', route.path)
                client.cookies.clear()  # which the route of the session has set
                assert (client.request(method, path).status_code == 401) == bool(rule.role) or 'session' in path
                for token, visitor in TOKENS.items():
                    answer = client.request(method, path, headers={'authorization': f'Bearer {token}'})
                    is_refused = answer.status_code == 403 and answer.json()['type'].endswith('not-allowed')
                    assert is_refused == (ranks.index(visitor.role) < ranks.index(rule.role)), (method, path, visitor)
    with start(writable=False) as client:
        refused(send(client, 'PATCH', 'rows/0', values={'label': 'Wren'}), 403, 'read-only')
        info = client.get(f'{API}/info').json()
        assert info['role'] == 'admin' and not info['galleries'][0]['writable']


def test_the_history_names_who_has_changed_what(start):
    with start(tokens=TOKENS) as client:
        for token in TOKENS:
            client.headers['authorization'] = f'Bearer {token}'
            assert client.get(f'{API}/info').json()['role'] == TOKENS[token].role
            send(client, 'PATCH', 'rows/0', values={'label': token})
        by = [one['by'] for one in client.get(f'{API}/changes').json()['changes']]
        assert by == ['admin', 'anna'] and client.get(f'{API}/info').json()['galleries'][0]['writable']


def test_two_servers_on_one_host_have_cookies_of_their_own(start):
    headers = [{'authorization': f'Bearer {token}'} for token in TOKENS]
    names = set()
    for settings in (dict(tokens=TOKENS), dict(token='another-token-of-the-tests')):
        with start(**settings) as client:
            token = settings.get('token') or next(iter(TOKENS))
            client.post(f'{API}/session', headers={'authorization': f'Bearer {token}'})
            names.update(client.cookies)
            assert client.get(f'{API}/info').status_code == 200
    assert len(names) == 2
    with start(tokens=TOKENS) as client:  # another token on the same server takes the place of the first
        for one, role in zip(headers, ('read', 'label', 'admin')):
            assert client.post(f'{API}/session', headers=one).status_code == 204
            assert client.get(f'{API}/info').json()['role'] == role
        refused(client.patch(f'{API}/rows/0', json={}), 403, 'no-csrf-header')


def test_token_files(tmp_path):
    file = tmp_path / 'tokens'
    file.write_text('# ours\n\nread a-token-to-read-with\nlabel a-token-to-label-with Anna Bell\nan-old-token-alone\n')
    found = read_tokens(file)
    assert list(found.values()) == [Visitor('read'), Visitor('label', 'Anna Bell'), Visitor('admin')]
    assert Settings(tokens=found).main_token == 'an-old-token-alone'
    for text, said in (
        ('write a-token-to-write-with', 'read, label, admin'),
        ('read short', '16'),
        ('# none', 'no token'),
    ):
        file.write_text(text)
        with pytest.raises(GLSimError, match=said):
            read_tokens(file)


def test_a_folder_of_photos_is_not_written_to(client):
    client.app.state.service.gallery(None).is_cache = True
    assert not client.get(f'{API}/info').json()['galleries'][0]['writable']
    assert 'glsim build' in refused(send(client, 'PATCH', 'rows/0', values={'label': 'Wren'}), 403, 'read-only')


def test_a_writable_folder_of_photos_is_refused_before_anything_is_encoded(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        call_tool('serve', tmp_path, '--writable')
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count('\n') == 1 and 'glsim build' in told
