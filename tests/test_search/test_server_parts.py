"""Parts of ``glsim serve`` that need no gallery: batches, cookies and sentences without paths."""

import asyncio
import threading
from collections import deque

import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from served_birds import run_apart
from starlette.requests import Request

from glsim_mm.search.server.asking import unless_aborted
from glsim_mm.search.server.batching import Batcher
from glsim_mm.search.server.galleries import gallery_names
from glsim_mm.search.server.guard import Door, Guard, Sessions
from glsim_mm.search.server.measures import Measures
from glsim_mm.search.server.problems import Problem, hide_paths
from glsim_mm.search.server.settings import Settings

TOKEN = 'a-token-of-the-tests'


def run_batcher(work, compute, **options):
    """What ``work(batcher)`` returns, and the batches that were computed."""
    batches = []

    def note(jobs):
        batches.append(list(jobs))
        return compute(jobs)

    async def run():
        batcher = Batcher(note, **dict(size=4, patience=0.02, limit=6, measures=Measures()) | options)
        await batcher.start()
        try:
            return await work(batcher)
        finally:
            await batcher.stop()

    return run_apart(run()), batches


def test_a_job_that_fails_harms_only_itself():
    async def work(batcher):
        return await asyncio.gather(*(batcher.submit([n]) for n in (1, 0, 2)), return_exceptions=True)

    (one, failed, two), batches = run_batcher(work, lambda jobs: [6 // job for job in jobs])
    assert one == [6] and two == [3] and isinstance(failed, ZeroDivisionError)
    assert batches[0] == [1, 0, 2]


def test_a_full_queue_refuses_and_aborted_jobs_are_dropped():
    async def work(batcher):
        waiting = [asyncio.ensure_future(batcher.submit([n])) for n in range(6)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refusal:
            await batcher.submit([6])
        waiting[1].cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        return refusal.value, found

    (refusal, found), batches = run_batcher(work, lambda jobs: jobs, size=8)
    assert refusal.status == 503 and refusal.headers['Retry-After'] == '1'
    assert found[0] == [0] and isinstance(found[1], asyncio.CancelledError)
    assert sum(batches, []) == [0, 2, 3, 4, 5]


def answer_to(parts, work):
    """What becomes of ``work(request)`` behind the guard, where content comes in parts and its sender goes then."""
    messages = deque(dict(type='http.request', body=part, more_body=True) for part in parts)
    messages[-1]['more_body'] = False
    found = []

    async def receive():
        await asyncio.sleep(0 if messages else 0.1)
        return messages.popleft() if messages else dict(type='http.disconnect')

    async def application(scope, receive, send):
        request = Request(scope, receive)
        found.append(await unless_aborted(request, work(request), 60.0))

    guard = Guard(application, Settings(), Measures(), Door({}))
    scope = dict(type='http', method='POST', path='/api/v1/search', headers=[(b'host', b'localhost')])
    run_apart(guard(scope, receive, None))
    return found[0]


def test_a_batch_without_an_answer_for_each_job_ends_no_other():
    async def work(batcher):
        first = await asyncio.gather(*(batcher.submit([n]) for n in (1, 2)), return_exceptions=True)
        return first, await batcher.submit([3])

    (first, second), _ = run_batcher(work, lambda jobs: [job for job in jobs if job == 3])
    assert all(isinstance(one, RuntimeError) for one in first) and second == [3]


def test_jobs_that_could_not_be_computed_in_time_are_refused_at_once():
    go_on, begun = threading.Event(), threading.Event()

    def compute(jobs):
        begun.set()
        assert go_on.wait(30)
        return jobs

    async def work(batcher):
        loop = asyncio.get_running_loop()
        first = asyncio.ensure_future(batcher.submit([0]))  # of which nobody knows how long it takes
        await asyncio.to_thread(begun.wait, 30)
        loop.call_later(0.2, go_on.set)
        await first
        go_on.clear()
        second = asyncio.ensure_future(batcher.submit([1]))  # nothing waits before it
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as refusal:
            await batcher.submit([2] * 5)  # two batches of 0.2 s at least
        go_on.set()
        return refusal.value, await second

    (refusal, second), _ = run_batcher(work, compute, seconds=0.3)
    assert second == [1] and refusal.status == 503 and int(refusal.headers['Retry-After']) >= 1


def test_what_is_computed_when_the_server_stops_is_refused():
    begun, go_on = threading.Event(), threading.Event()

    def compute(jobs):
        begun.set()
        go_on.wait(10)
        return jobs

    async def work(batcher):
        waiting = [asyncio.ensure_future(batcher.submit([n])) for n in range(6)]
        await asyncio.to_thread(begun.wait, 10)
        stopping = asyncio.ensure_future(batcher.stop())
        found = await asyncio.gather(*waiting, return_exceptions=True)
        go_on.set()
        await stopping
        return found

    found, batches = run_batcher(work, compute)
    assert [one.status for one in found] == [503] * 6 and len(batches) == 1


def test_a_question_whose_sender_goes_away_is_dropped():
    ended = []

    async def work(request):
        await request.body()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append('cancelled')
            raise

    with pytest.raises(Problem, match='given up'):
        answer_to([b'all'], work)
    assert ended == ['cancelled']


def test_who_watches_for_the_sender_takes_no_part_of_the_content():
    """Servers that hand out each message once would lose it, and the request would wait for it until its end."""

    async def work(request):
        parts = []
        async for part in request.stream():
            parts.append(part)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return b''.join(parts)

    assert answer_to([b'a', b'b', b'c', b'd'], work) == b'abcd'


def test_cookies_end():
    now = 1000.0
    sessions = Sessions(TOKEN, lambda: now)
    cookie = sessions.begin()
    assert sessions.is_valid(cookie) and not Sessions('another token', lambda: now).is_valid(cookie)
    later = cookie.replace(cookie.split('.')[0], '99999999999')
    now += 13 * 3600
    assert not sessions.is_valid(cookie) and not sessions.is_valid(later) and not sessions.is_valid('')


def test_paths_are_hidden():
    said = hide_paths('/home/me/g/a.jpg and C:\\x\\b.png: label a/b of https://h.org/x/y, not ./c/d')
    assert said == 'a.jpg and b.png: label a/b of https://h.org/x/y, not ./c/d'
    assert gallery_names(['a/birds', 'b/birds/', 'milvus://h:1/birds']) == ['birds', 'birds-2', 'birds-3']
