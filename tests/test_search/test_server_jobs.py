"""Jobs of ``glsim serve``: adding, removing, syncing, measuring; watched, cancelled, interrupted and resumed."""

import hashlib
import io
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from mean_encoder import MeanEncoder
from PIL import Image
from served_birds import API, build_colours, refused

from glsim_mm.search.server import job_files, jobs, kinds_writing
from glsim_mm.search.server.jobs import Work
from glsim_mm.search.server.roles import Visitor
from retrieval.gallery import open_gallery
from retrieval.recognition import left_out

RNG = np.random.default_rng(3)


def photo(kind='PNG', **options):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(file, kind, **options)
    return file.getvalue()


class GatedEncoder(MeanEncoder):
    """Lets the model go on with photos of jobs, which come four at a time, only when it may."""

    def __init__(self):
        super().__init__()
        self.reached, self.gate = threading.Event(), threading.Event()

    def prepare(self, items, position):
        if items[position].file and position >= 4:  # what is searched with is no file
            self.reached.set()
            assert self.gate.wait(60)
        return super().prepare(items, position)


@pytest.fixture
def location(tmp_path):
    return build_colours(tmp_path / 'birds')


def begin(client, kind, *photos, **asked):
    if not photos:
        response = client.post(f'{API}/jobs/{kind}', json=asked)
    else:
        files = [('photo', (f'C:\\mine\\{number}.png', one)) for number, one in enumerate(photos)]
        response = client.post(f'{API}/jobs/{kind}', files=files, data={'request': json.dumps(asked)})
    assert response.status_code == 202, response.text
    assert response.headers['location'] == f'{API}/jobs/{response.json()["id"]}'
    return response.json()


def watch(client, job):
    """All events of a job until it has ended."""
    events = client.get(f'{API}/jobs/{job["id"]}/events')
    assert events.headers['content-type'].startswith('text/event-stream')
    return [json.loads(one.split('data: ')[1]) for one in events.text.split('\n\n') if 'event: job' in one]


def finish(client, job, state='done'):
    last = watch(client, job)[-1]
    assert last['state'] == state and (state != 'done' or last['done'] == last['total']), last
    assert last == client.get(f'{API}/jobs/{job["id"]}').json()
    assert last['finished'] and last['message'].endswith('.')
    return last


def paths(location):
    with open_gallery(location) as gallery:
        gallery.verify()
        return dict(zip(gallery.column('path')[1], gallery.column('label')[1]))


def test_photos_are_added_once_as_they_were_sent(client, location):
    photos = location.parent / 'photos'
    before = paths(location)
    known = (photos / 'red' / '0.png').read_bytes()
    new, other = photo(), photo('JPEG', exif=b'Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0')
    asked = dict(label='Wren', split='train', metadata={'year': 2020})
    job = finish(client, begin(client, 'add', new, known, b'no photo', other, new, **asked))
    assert job['result']['added'] == 2 and job['kind'] == 'add' and job['gallery'] == 'birds'
    assert job['message'] == '2 photos were added, 2 were there already, 1 cannot be used.'
    assert [(one['name'], one['id'] is None) for one in job['result']['duplicates']] == [
        ('1.png', False),
        ('4.png', True),
    ]
    assert job['unreadable'][0]['name'] == '2.png' and 'no photo' in job['unreadable'][0]['reason']
    rows = [client.get(f'{API}/rows/{number}').json() for number in job['result']['ids']]
    for row, content, suffix in zip(rows, (new, other), ('png', 'jpg')):
        name = f'{hashlib.sha256(content).hexdigest()}.{suffix}'
        assert row['path'] == f'added-by-glsim/{job["created"][:10]}/{name}' and row['has_photo']
        assert (photos / row['path']).read_bytes() == content
        assert (row['label'], row['split'], row['metadata']) == ('Wren', 'train', {'year': 2020})
    hits = client.post(f'{API}/search', files={'photo': new}, data={'request': '{"k": 1}'}).json()['hits']
    assert hits[0]['id'] in job['result']['ids'] and hits[0]['score'] == pytest.approx(1)
    again = finish(client, begin(client, 'add', new))
    assert again['result']['added'] == 0 and again['result']['duplicates'][0]['id'] == rows[0]['id']
    assert len(list(photos.rglob('*.*g'))) == 8 and len(paths(location)) == len(before) + 2
    assert not list((location.parent / 'state').rglob('photos/*'))
    assert str(location.parent) not in client.get(f'{API}/jobs').text
    unlabelled = finish(client, begin(client, 'add', photo()))
    synced = finish(client, begin(client, 'sync'))
    assert synced['message'] == 'The gallery is as its folders are.'
    assert client.get(f'{API}/rows/{unlabelled["result"]["ids"][0]}').json()['label'] is None


def test_what_lies_where_a_photo_should_go_is_left_alone(client, location):
    content = photo()
    day = job_files.time_now()[:10]
    place = location.parent / 'photos' / 'added-by-glsim' / day / f'{hashlib.sha256(content).hexdigest()}.png'
    place.parent.mkdir(parents=True)
    place.write_bytes(b'somebody else')
    assert 'is something else' in finish(client, begin(client, 'add', content), 'failed')['message']
    assert place.read_bytes() == b'somebody else' and len(paths(location)) == 6


def test_rows_are_removed_and_folders_followed(client, location):
    photos = location.parent / 'photos'
    job = finish(client, begin(client, 'remove', where=['label=red']))
    assert job['result'] == dict(removed=2, gone=0, change=1) and job['message'] == '2 rows removed.'
    assert (photos / 'red' / '0.png').exists()
    stale = client.post(f'{API}/jobs/remove', json=dict(ids=[2]), headers={'if-match': '"1"'})
    refused(stale, 412, 'changed-meanwhile')
    for body, status in ((dict(ids=[5]), 404), ({}, 422), (dict(where=['label=red']), 404)):
        assert client.post(f'{API}/jobs/remove', json=body).status_code == status
    (photos / 'green' / '0.png').rename(photos / 'blue' / 'moved.png')
    planned = finish(client, begin(client, 'sync', dry_run=True))
    assert planned['message'] == 'Would be: 2 added, 1 moved.' and 'red/0.png' not in paths(location)
    done = finish(client, begin(client, 'sync', missing='remove'))
    assert done['message'] == '2 added, 1 moved.' and done['result']['counts']['added'] == 2
    assert paths(location)['blue/moved.png'] == 'blue' and len(paths(location)) == 6
    assert str(location.parent) not in json.dumps(done)


def test_the_gallery_is_measured_and_calibrated(client, location):
    report = finish(client, begin(client, 'evaluate', whole_ranking=True))
    assert report['result']['metrics']['Recall@1'] == 1.0 and report['message'] == 'Recall@1 100.0% over 6 photos.'
    assert not client.get(f'{API}/info').json()['galleries'][0]['has_recogniser']
    words = finish(client, begin(client, 'calibrate'))
    assert '6 photos of 3 classes' in words['message'] and 'accuracy' in words['result']['measured']
    assert client.get(f'{API}/info').json()['galleries'][0]['has_recogniser']
    for body in (dict(space='other'), dict(where=['colour=red']), dict(label='colour'), dict(rerank='magic')):
        assert client.post(f'{API}/jobs/evaluate', json=body).status_code == 422
    failed = finish(client, begin(client, 'calibrate', where=['path=red/0.png']), 'failed')
    assert 'of one class, red' in failed['message'] and not failed['result']


@pytest.mark.parametrize('kind', ['calibrate', 'audit'])
def test_what_takes_long_says_how_far_it_is_and_can_be_cancelled(client, monkeypatch, kind):
    told, report = [], Work.report

    def note(work, done, total=None, message=''):
        told.append((done, total))
        if client.cancel and 0 < done < total:
            client.app.state.service.jobs.cancel(work.folder.name)
        report(work, done, total, message)

    monkeypatch.setattr(left_out, '_NUMBERS', 1)  # one photo at a time
    monkeypatch.setattr(Work, 'report', note)
    client.cancel = False
    job = finish(client, begin(client, kind))
    assert [one for one, _ in told] == sorted(one for one, _ in told) and len({one for one, _ in told}) > 5
    assert {total for _, total in told} == {job['total']} and 0 < job['done'] == job['total']
    client.cancel = True
    assert finish(client, begin(client, kind), 'cancelled')['done'] < job['total']


def test_searches_and_labels_go_on_while_photos_are_added(location, start):
    encoder = GatedEncoder()
    with start(encoders=[encoder]) as client:
        job = begin(client, 'add', *(photo() for _ in range(9)))
        assert encoder.reached.wait(60)  # the first batch waits to be written, the next cannot be read yet
        asked = client.post(f'{API}/search', files={'photo': photo()}, data={'request': '{"k": 1}'})
        assert asked.status_code == 200
        seen = client.get(f'{API}/rows').json()['generation']
        later = begin(client, 'remove', ids=[5])
        assert client.get(f'{API}/jobs/{later["id"]}').json()['state'] == 'waiting'
        headers = {'if-match': f'"{seen}"'}
        assert client.patch(f'{API}/rows/0', json=dict(values={'label': 'Wren'}), headers=headers).status_code == 200
        assert client.get(f'{API}/jobs/{job["id"]}').json()['state'] == 'running'
        seen += 1
        encoder.gate.set()
        assert finish(client, job)['result']['added'] == 9
        # Rows that were added since do no harm to a label that was seen; those that were removed do.
        finish(client, later)
        assert [one['id'] for one in client.get(f'{API}/jobs').json()['jobs']] == [later['id'], job['id']]
    assert len(paths(location)) == 14


def test_growth_does_not_make_a_label_stale(client):
    seen = client.get(f'{API}/rows').json()['generation']
    finish(client, begin(client, 'add', photo()))
    headers = {'if-match': f'"{seen}"'}
    by_filter = dict(where=['label=red'], label='Wren')  # might mean the new one too
    refused(client.post(f'{API}/rows:label', json=by_filter, headers=headers), 412, 'changed-meanwhile')
    assert client.post(f'{API}/rows:label', json=dict(ids=[0], label='Wren'), headers=headers).status_code == 200
    refused(
        client.post(f'{API}/rows:label', json=dict(ids=[0], label='Crow'), headers=headers), 412, 'changed-meanwhile'
    )


def test_jobs_are_cancelled_and_resumed(location, start, monkeypatch):
    monkeypatch.setattr(kinds_writing, '_SECONDS_BETWEEN_COMMITS', 0.0)
    encoder = GatedEncoder()
    with start(encoders=[encoder]) as client:
        job, waiting = begin(client, 'add', *(photo() for _ in range(9))), begin(client, 'evaluate')
        assert encoder.reached.wait(60)
        assert client.post(f'{API}/jobs/{waiting["id"]}/cancel').json()['state'] == 'cancelled'
        refused(client.post(f'{API}/jobs/{waiting["id"]}/cancel'), 409, 'job-ended')
        refused(client.post(f'{API}/jobs/{job["id"]}/resume'), 409, 'not-resumable')
        assert client.post(f'{API}/jobs/{job["id"]}/cancel').status_code == 200
        encoder.gate.set()
        assert finish(client, job, 'cancelled')['message'] == 'Cancelled; what was done stays.'
        assert 6 <= len(paths(location)) < 15
        for one in (job, waiting):
            assert client.post(f'{API}/jobs/{one["id"]}/resume').status_code == 202
        assert finish(client, job)['result']['added'] == 9
        finish(client, waiting)
        refused(client.get(f'{API}/jobs/..%2f{job["id"]}'), 404, 'no-such-route')
        refused(client.get(f'{API}/jobs/none'), 404, 'no-such-job')
    assert len(paths(location)) == 15


def test_a_stopped_server_interrupts_its_jobs_and_the_next_one_resumes_them(location, start, monkeypatch):
    monkeypatch.setattr(kinds_writing, '_SECONDS_BETWEEN_COMMITS', 0.0)
    encoder = GatedEncoder()
    with start(encoders=[encoder]) as client:
        job, waiting = begin(client, 'add', *(photo() for _ in range(9))), begin(client, 'evaluate')
        assert encoder.reached.wait(60)
        with start() as other:  # a second server over the same gallery
            assert [one['state'] for one in other.get(f'{API}/jobs').json()['jobs']] == ['waiting', 'running']
            refused(other.post(f'{API}/jobs/evaluate'), 409, 'jobs-elsewhere')
            refused(other.post(f'{API}/jobs/{job["id"]}/cancel'), 409, 'jobs-elsewhere')
        threading.Timer(0.2, encoder.gate.set).start()
    assert len(paths(location)) < 15
    with start() as client:
        states = {one['id']: one['state'] for one in client.get(f'{API}/jobs').json()['jobs']}
        assert states == {job['id']: 'interrupted', waiting['id']: 'interrupted'}
        assert 'stopped' in finish(client, job, 'interrupted')['message']
        assert client.post(f'{API}/jobs/{job["id"]}/resume').status_code == 202
        assert finish(client, job)['result']['added'] == 9
    assert len(paths(location)) == 15


def test_a_job_waits_for_another_process_that_writes(client, location, monkeypatch):
    monkeypatch.setattr(jobs, '_SECONDS_TO_LOOK', 0.01)
    with open_gallery(location, writable=True):
        job = begin(client, 'remove', ids=[0])
        while 'being written by process' not in client.get(f'{API}/jobs/{job["id"]}').json()['message']:
            time.sleep(0.01)
        cancelled = begin(client, 'remove', ids=[1])
        client.post(f'{API}/jobs/{cancelled["id"]}/cancel')
    assert finish(client, job)['result']['removed'] == 1


def test_bugs_and_strange_files_do_not_end_the_runner(client, location, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError('/home/somebody/secret')

    job = begin(client, 'evaluate')
    finish(client, job)
    (folder,) = (location.parent / 'state').glob('gallery-*')
    assert folder.stat().st_mode & 0o777 == 0o700
    for name, text in (('a', '{'), ('b', '[]'), ('c', '{"id": "../../x"}')):
        (folder / 'jobs' / name).mkdir()
        (folder / 'jobs' / name / 'job.json').write_text(text)
    assert [one.id for one in job_files.JobFiles(location.parent / 'state', str(location)).read()] == [job['id']]
    monkeypatch.setattr('glsim_mm.search.server.kinds_measuring.evaluate_gallery', fail)
    failed = finish(client, begin(client, 'evaluate'), 'failed')
    assert 'secret' not in failed['message'] and 'log' in failed['message']
    monkeypatch.undo()
    finish(client, begin(client, 'evaluate'))


def test_old_jobs_are_forgotten(client, location, monkeypatch):
    monkeypatch.setattr(job_files, '_KEPT', 2)
    done = [begin(client, 'evaluate') for _ in range(3)]
    finish(client, done[-1])
    last = begin(client, 'evaluate')
    finish(client, last)
    listed = [one['id'] for one in client.get(f'{API}/jobs').json()['jobs']]
    assert listed == [last['id'], done[2]['id']]
    assert sorted(one.name for one in (location.parent / 'state').glob('*/jobs/*')) == sorted(listed)


def test_who_may_begin_and_end_jobs(start):
    tokens = {f'{role}-token-of-the-tests': Visitor(role) for role in ('read', 'label', 'admin')}
    headers = {visitor.role: {'authorization': f'Bearer {token}'} for token, visitor in tokens.items()}
    with start(tokens=tokens) as client:
        for kind, role in (('remove', 'admin'), ('evaluate', 'label')):
            body = dict(ids=[0]) if kind == 'remove' else {}
            for one in headers:
                answer = client.post(f'{API}/jobs/{kind}', json=body, headers=headers[one])
                allowed = list(headers).index(one) >= list(headers).index(role)
                assert answer.status_code == (202 if allowed else 403), (kind, one)
        client.headers.update(headers['label'])
        jobs = {one['kind']: one for one in client.get(f'{API}/jobs').json()['jobs']}
        refused(client.post(f'{API}/jobs/{jobs["remove"]["id"]}/cancel'), 403, 'not-allowed')
        finish(client, jobs['evaluate'])
    with start(writable=False) as client:
        refused(client.post(f'{API}/jobs/remove', json=dict(ids=[1])), 403, 'read-only')
        finish(client, begin(client, 'evaluate'))


@pytest.mark.parametrize(
    'asked, said',
    [
        (dict(label=' '), 'label'),
        (dict(metadata={'path': '../x'}), 'path'),
        (dict(metadata={'id': 3}), 'id'),
        (dict(names=['x']), 'names'),
        (dict(split=''), 'split'),
    ],
)
def test_additions_that_are_refused(client, location, asked, said):
    response = client.post(f'{API}/jobs/add', files={'photo': photo()}, data={'request': json.dumps(asked)})
    assert said in refused(response, 422, 'wrong-request')
    refused(client.post(f'{API}/jobs/add', json={}), 422, 'no-photo')
    assert not (location.parent / 'state').exists()
