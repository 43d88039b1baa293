"""The progress hook, driven as mmengine's loop does."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from glsim_mm.engine.hooks import ProgressHook
from glsim_mm.engine.hooks.training_progress import TimeLeft


def train(iterations: int, start: int = 0) -> None:
    hook = ProgressHook(interval=0.0)
    runner = SimpleNamespace(iter=start, epoch=0, max_iters=iterations)
    hook.before_train(runner)
    for runner.iter in range(start, iterations):
        hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(2.5, requires_grad=True)))
        if runner.iter == iterations // 2:
            hook.after_val_epoch(runner, {'accuracy/top1': 50.0})
    hook.after_train(runner)


def test_last_line_says_loss_and_accuracy(capsys):
    train(57)
    captured = capsys.readouterr()
    assert captured.out == ''
    (line,) = captured.err.splitlines()
    assert line.startswith('training: 57 of 57 iterations, ')
    assert line.endswith('iterations/s, epoch 1, loss 2.50, top-1 50.0, 0 s left')


def test_speed_of_a_resumed_run_counts_from_where_it_was(capsys, monkeypatch):
    clock = iter([0.0, *[10.0] * 99])
    monkeypatch.setattr('glsim_mm.progress.time', SimpleNamespace(monotonic=lambda: next(clock)))
    train(100, start=95)
    assert capsys.readouterr().err.startswith('training: 100 of 100 iterations, 0.5 iterations/s')


def test_other_processes_are_silent(capsys, monkeypatch):
    monkeypatch.setattr('glsim_mm.engine.hooks.training_progress.is_main_process', lambda: False)
    train(5)
    assert capsys.readouterr() == ('', '')


def test_cursor_comes_back_when_training_fails(monkeypatch):
    at_exit = []
    monkeypatch.setattr('atexit.register', at_exit.append)
    hook = ProgressHook()
    hook.before_train(SimpleNamespace(iter=0, max_iters=3))
    assert at_exit == [hook._bar.stop]


def loop_of(epochs: int, batches: int, photos: int = 8) -> SimpleNamespace:
    loader = DataLoader(range(photos * batches), batch_size=photos)
    return SimpleNamespace(
        max_iters=epochs * batches,
        max_epochs=epochs,
        train_loop=SimpleNamespace(val_interval=1),
        val_loop=object(),
        train_dataloader=loader,
        val_dataloader=loader,
    )


def made_up_run(iteration=lambda number: 1.0, validation: float = 8.0) -> list[tuple[float | None, float]]:
    """What is told, and what is true, in 10 epochs of 20 iterations and a validation of 4 batches."""
    runner, left, now, told = loop_of(epochs=10, batches=20), TimeLeft(0.0), 0.0, []
    for epoch in range(10):
        left.resume(now)
        for done in range(epoch * 20 + 1, epoch * 20 + 21):
            now += iteration(done)
            left.note(done, now)
            told.append((left.seconds_left(runner, done), now))
        left.begin_validation(now)
        for batch in range(4):
            now += validation / 4
            left.validate((batch + 1) / 4, now)
            told.append((left.seconds_left(runner, done), now))
        left.end_validation(now)
        told.append((left.seconds_left(runner, done), now))
        now += 30.0  # a checkpoint is written; it is no part of an iteration
    end = told[-1][1] + 30.0
    return [(seconds, end - moment - 30.0 * (10 - index // 25)) for index, (seconds, moment) in enumerate(told)]


@pytest.mark.parametrize(
    'iteration, validation',
    [
        (lambda number: 40.0 if number <= 3 else 1.0, 8.0),
        (lambda number: 60.0 if number in (5, 90) else 1.0, 8.0),  # the machine stands still
        (lambda number: 4.0 if number % 8 == 0 else 0.5, 20.0),  # waits for photos now and then
    ],
    ids=['slow start', 'stalls', 'regular waits and a long validation'],
)
def test_time_left_is_near_the_truth_from_its_first_figure_on(iteration, validation):
    told = made_up_run(iteration, validation)
    assert [left for left, _ in told[:3]] == [None] * 3
    figures = [(left, true) for left, true in told[3:] if true > 20]
    assert all(true / 3 <= left <= 3 * true for left, true in figures)
    assert all(1 / 3 < one / other < 3 for (one, _), (other, _) in pairwise(figures))
    assert told[-1][0] == 0
