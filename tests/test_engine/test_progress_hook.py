"""The progress hook, driven as mmengine's loop does."""

from types import SimpleNamespace

import torch

from glsim_mm.engine.hooks import ProgressHook


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
    monkeypatch.setattr('glsim_mm.progress.time.monotonic', lambda: next(clock))
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
