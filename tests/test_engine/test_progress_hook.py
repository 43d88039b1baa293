"""The progress hook, driven as mmengine's loop does."""

from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader

from glsim_mm.engine.hooks import ProgressHook
from glsim_mm.engine.hooks.training_progress import Pace


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


def test_time_left_is_near_the_truth_from_its_first_figure_on(monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr('glsim_mm.engine.hooks.training_progress.time', clock)
    runner, pace = loop_of(epochs=10, batches=20), Pace()
    end = 10 * (20 * 1.0 + 8.0) + 3 * 19  # one second per iteration, 8 per validation; the first three take 20
    told = []
    for epoch in range(10):
        pace.pause_is_over()
        for batch in range(20):
            done = epoch * 20 + batch + 1
            now[0] += 20.0 if done <= 3 else 1.0
            pace.count()
            told.append((pace.seconds_left(runner, done), end - now[0]))
        pace.begin_validation()
        now[0] += 4.0
        told.append((pace.seconds_left(runner, done, validating=True), end - now[0]))
        now[0] += 4.0
        pace.end_validation()
        told.append((pace.seconds_left(runner, done), end - now[0]))
        now[0] += 30.0  # a checkpoint is written; it is no part of an iteration
        end += 30.0
    assert [left for left, _ in told[:3]] == [None] * 3
    assert all(0.8 * true - 9 <= left <= 1.2 * true + 9 for left, true in told[3:])
    assert told[-1][0] == 0
