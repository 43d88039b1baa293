"""Duplicates and labels that wait for a person, in ``glsim serve``: found by jobs, decided once, and taken back."""

import json
import shutil
from dataclasses import replace

import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from image_files import encode
from served_birds import API, BIRDS, build_birds, draw_bird, refused, serve_birds

from glsim_mm.search.server import schemas_review as schemas
from glsim_mm.search.server.roles import Visitor
from retrieval.gallery import open_gallery
from retrieval.recognition import audit, find_duplicates, store_settings, tune

JAY, WREN = '001.Blue_Jay', '002.Wren'


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Eight photos of each of three birds; a copy of a jay, two nearly equal wrens, a jay that is labelled wrongly."""
    folder = tmp_path_factory.mktemp('review')
    birds = folder / 'photos'
    for label in BIRDS:
        (birds / label).mkdir(parents=True)
        for seed in range(8):
            draw_bird(label, seed).save(birds / label / f'{seed}.png')
    draw_bird(WREN, 0).resize((24, 20)).save(birds / WREN / 'small.png')
    draw_bird(JAY, 50).save(birds / WREN / 'wrong.png')
    location = build_birds(folder, 0)
    with open_gallery(location, writable=True) as gallery:  # as one has that was not made by glsim
        (jay,) = gallery.records(gallery.ids({'path': f'{JAY}/0.png'}))
        shutil.copy(birds / JAY / '0.png', birds / JAY / 'copy.png')
        gallery.add(gallery.vectors([jay.id]), [replace(jay, path=f'{JAY}/copy.png')])
    return location


@pytest.fixture
def location(built, tmp_path):
    """A copy of it, whose photos are those of the first."""
    return shutil.copytree(built, tmp_path / 'birds' / 'gallery')


def run_job(client, kind, **asked):
    job = client.post(f'{API}/jobs/{kind}', json=asked)
    assert job.status_code == 202, job.text
    client.get(f'{job.headers["location"]}/events')  # which ends with the job
    done = client.get(job.headers['location']).json()
    assert done['state'] == 'done', done
    return done


def listed(client, **asked):
    return schemas.Duplicates(**client.get(f'{API}/duplicates', params=asked).json())


def waiting(client, kind, **asked):
    return schemas.Reviews(**client.get(f'{API}/review', params=dict(kind=kind) | asked).json())


def post(client, route, generation=None, **asked):
    now = client.get(f'{API}/info').json()['galleries'][0]['generation'] if generation is None else generation
    return client.post(f'{API}/{route}', json=asked, headers={'if-match': f'"{now}"'})


def names(group):
    return [row.path for row in group.rows]


def test_duplicates_are_found_decided_and_taken_back(client, location):
    assert listed(client).job is None and listed(client).groups == []
    job = run_job(client, 'duplicates', threshold=0.999)
    assert job['result'] == dict(groups=2, equal=1, similar=1)
    found = listed(client)
    assert found.job == job['id'] and found.total == 2
    equal, similar = found.groups
    assert equal.same_content and equal.similarity == 1 and names(equal) == [f'{JAY}/0.png', f'{JAY}/copy.png']
    assert not similar.same_content and 0.999 < similar.similarity <= 1.0001
    assert names(similar) == [f'{WREN}/0.png', f'{WREN}/small.png']
    first = listed(client, limit=1)
    assert [one.id for one in listed(client, limit=1, cursor=first.next).groups] == [similar.id]
    kept = post(client, f'duplicates/{equal.id}', action='keep').json()
    assert kept['changed'] == 2 and kept['change']
    assert [one.id for one in listed(client, cursor=first.next).groups] == [similar.id]  # places stay
    distinct = post(client, f'duplicates/{similar.id}', action='distinct').json()
    assert listed(client).total == 0
    with open_gallery(location) as gallery:
        assert find_duplicates(gallery, 0.999) == []  # what glsim duplicates lists
    assert run_job(client, 'duplicates', threshold=0.999)['result']['groups'] == 0
    assert client.post(f'{API}/undo/{distinct["change"]}', headers={'if-match': f'"{distinct["generation"]}"'}).json()
    run_job(client, 'duplicates', threshold=0.999)
    assert [one.id for one in listed(client).groups] == [similar.id]


def test_copies_are_removed_but_for_some(client):
    run_job(client, 'duplicates', threshold=None)
    (group,) = listed(client).groups
    first, second = (row.id for row in group.rows)
    for keep in ([], [99], [first, 99]):
        refused(post(client, f'duplicates/{group.id}', action='remove', keep=keep), 422, 'wrong-rows')
    done = post(client, f'duplicates/{group.id}', action='remove', keep=[second]).json()
    assert done['changed'] == 1
    assert listed(client).groups == []
    refused(client.get(f'{API}/rows/{first}'), 404, 'no-such-row')
    refused(post(client, f'duplicates/{group.id}', action='keep'), 404, 'no-such-group')
    assert client.get(f'{API}/changes').json()['changes'][0]['what'] == '1 row removed'
    assert post(client, f'undo/{done["change"]}').json()['changed'] == 1
    assert [row.id for row in listed(client).groups[0].rows] == [first, second]
    assert client.get(f'{API}/rows/{first}').json()['has_photo']


def test_what_decisions_need(location):
    tokens = {'r' * 16: Visitor('read'), 'l' * 16: Visitor('label', 'anna'), 'a' * 16: Visitor('admin')}
    with serve_birds(location, writable=True, tokens=tokens) as client:
        client.headers['authorization'] = f'Bearer {"l" * 16}'
        run_job(client, 'duplicates', threshold=None)
        (group,) = listed(client).groups
        refused(client.post(f'{API}/duplicates/{group.id}', json=dict(action='keep')), 428, 'needs-generation')
        refused(post(client, f'duplicates/{group.id}', 999, action='keep'), 412, 'changed-meanwhile')
        refused(post(client, f'duplicates/{group.id}', action='sell'), 422, 'wrong-request')
        refused(post(client, 'duplicates/none', action='keep'), 404, 'no-such-group')
        remove = dict(action='remove', keep=[group.rows[0].id])
        refused(post(client, f'duplicates/{group.id}', **remove), 403, 'not-allowed')
        client.headers['authorization'] = f'Bearer {"a" * 16}'
        removed = post(client, f'duplicates/{group.id}', **remove).json()['change']
        client.headers['authorization'] = f'Bearer {"l" * 16}'
        refused(post(client, f'undo/{removed}'), 403, 'not-allowed')  # whole rows are the admin's
        client.headers['authorization'] = f'Bearer {"a" * 16}'
        assert post(client, f'undo/{removed}').status_code == 200
        client.headers['authorization'] = f'Bearer {"l" * 16}'
        assert post(client, f'duplicates/{group.id}', action='keep').status_code == 200
        assert client.get(f'{API}/changes').json()['changes'][0]['by'] == 'anna'
        client.headers['authorization'] = f'Bearer {"r" * 16}'
        assert client.get(f'{API}/duplicates').status_code == 200
        refused(post(client, 'review/1', label=WREN), 403, 'not-allowed')
        refused(client.post(f'{API}/jobs/audit', json={}), 403, 'not-allowed')
    with serve_birds(location) as client:
        refused(post(client, 'review/1', label=WREN), 403, 'read-only')


def test_doubtful_labels_are_reviewed(client, location):
    assert waiting(client, 'suspects').items == []
    job = run_job(client, 'audit')
    with open_gallery(location) as gallery:
        expected = audit(gallery).suspects
    found = waiting(client, 'suspects')
    assert [one.row.id for one in found.items] == [one.id for one in expected] and found.total == len(expected)
    assert job['result']['suspects'] == found.total >= 1 and str(location.parent) not in json.dumps(job)
    worst = next(one for one in found.items if one.row.path == f'{WREN}/wrong.png')
    assert worst.suggestions[0].label == JAY and 0 < worst.suggestions[0].share <= 1 and worst.reason
    done = post(client, f'review/{worst.row.id}', label=JAY).json()
    assert done['changed'] == 1
    assert worst.row.id not in [one.row.id for one in waiting(client, 'suspects').items]
    client.post(f'{API}/undo/{done["change"]}', headers={'if-match': f'"{done["generation"]}"'})
    assert worst.row.id in [one.row.id for one in waiting(client, 'suspects').items]
    post(client, f'review/{worst.row.id}', label=WREN)  # it is right, says the person
    assert worst.row.id not in [one.row.id for one in waiting(client, 'suspects').items]
    row = client.get(f'{API}/rows/{worst.row.id}').json()
    assert row['label'] == row['metadata']['reviewed_label'] == WREN
    with open_gallery(location, writable=True) as gallery:
        gallery.set_labels([worst.row.id], 'another')
        gallery.set_labels([worst.row.id], WREN)
    client.app.state.service.gallery(None)._next_look = 0.0
    again = post(client, f'review/{worst.row.id}', label=WREN).json()
    assert (again['changed'], again['change']) == (0, None)


def test_rows_without_a_label_are_named_with_those_like_them(client, location):
    with open_gallery(location, writable=True) as gallery:
        store_settings(gallery, tune(gallery))
        gallery.set_labels([2, 3, 4, 12], None)
    client.app.state.service.gallery(None)._next_look = 0.0
    found = waiting(client, 'unknown', limit=3)
    assert [one.row.id for one in found.items] == [2, 3, 4] and found.total == 4
    assert [one.row.id for one in waiting(client, 'unknown', cursor=found.next).items] == [12]
    jay = found.items[0]
    assert jay.suggestions[0].label == JAY and len(jay.suggestions) <= 5 and 'Blue Jay' in jay.reason
    done = post(client, 'review/2', label=JAY, and_similar=[3, 4, 3]).json()
    assert done['changed'] == 3
    assert [one.row.id for one in waiting(client, 'unknown').items] == [12]
    post(client, 'review/12', label=None)  # nobody knows it
    assert waiting(client, 'unknown').total == 0
    refused(post(client, 'review/99', label=JAY), 404, 'no-such-row')
    refused(post(client, 'review/2', label=JAY, and_similar=[99]), 404, 'no-such-row')
    refused(post(client, 'review/2', label='  '), 422, 'wrong-request')
    refused(client.get(f'{API}/review?kind=unknown&cursor=x.1'), 422, 'wrong-cursor')
    refused(client.get(f'{API}/review?kind=all'), 422, 'wrong-request')


def test_new_rows_wait_until_somebody_has_looked(location, tmp_path):
    (tmp_path / 'birds' / 'photos').mkdir()
    with open_gallery(location, writable=True) as gallery:
        gallery.set_origin({'root': str(tmp_path / 'birds' / 'photos')})
    with serve_birds(location, writable=True) as client:
        assert waiting(client, 'new').items == []
        files = [('photo', ('new.png', encode(draw_bird(label, 77), 'PNG'))) for label in (JAY, WREN)]
        job = client.post(f'{API}/jobs/add', files=files, data={'request': json.dumps(dict(label=WREN))})
        client.get(f'{job.headers["location"]}/events')
        found = waiting(client, 'new')
        assert len(found.items) == 2 and {one.row.label for one in found.items} == {WREN}
        assert all(one.suggestions and one.row.has_photo for one in found.items)
        post(client, f'review/{found.items[0].row.id}', label=WREN)
        assert [one.row.id for one in waiting(client, 'new').items] == [found.items[1].row.id]


def test_a_server_that_starts_again_knows_what_was_found(location):
    with serve_birds(location, writable=True) as client:
        run_job(client, 'duplicates', threshold=None)
        found = listed(client)
    with serve_birds(location, writable=True) as client:
        assert listed(client) == found and found.groups
        state = client.app.state.service
        job = state.jobs.last('duplicates', state.gallery(None))
        (state.jobs.folder_of(job) / 'found.json').write_text('{"of": "another version"}')
    with serve_birds(location, writable=True) as client:
        assert listed(client).groups == []
