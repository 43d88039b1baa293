"""The progress line: what it says, and where it goes."""

import io
import sys
from types import SimpleNamespace

from glsim_mm.engine.hooks.progress import ProgressHook, format_progress


class _Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_line_shows_how_far_and_how_long():
    line = format_progress(45, 100, 4, 1.214, 63.46, 72.4)
    assert line == '[#########-----------]  45%  epoch 4  loss 1.21  top-1 63.5  1:12 left'


def test_line_leaves_out_what_is_not_known_yet():
    assert format_progress(100, 100, 1, None, None, 0.0) == '[####################] 100%  epoch 1  0:00 left'


def test_line_fits_a_terminal():
    assert len(format_progress(10**9, 10**9, 10**6, 1e30, 100.0, 10**8)) <= 80


def _train(monkeypatch, terminal, iterations, start=0, interval=0.0):
    """Drive the hook as mmengine's loop does; what a person sees."""
    stream = _Stream(terminal)
    monkeypatch.setattr(sys, 'stderr', stream)
    hook = ProgressHook(interval=interval)
    runner = SimpleNamespace(iter=start, epoch=0, max_iters=iterations)
    hook.before_train(runner)
    for runner.iter in range(start, iterations):
        hook.after_train_iter(runner, 0, outputs=dict(loss=2.5))
        if runner.iter == iterations // 2:
            hook.after_val_epoch(runner, {'accuracy/top1': 50.0})
    hook.after_train(runner)
    return stream.getvalue()


def test_file_gets_ten_plain_lines(monkeypatch):
    lines = _train(monkeypatch, False, 57).splitlines()
    percentages = [int(line[23:26]) for line in lines]
    assert percentages == [10, 21, 31, 40, 50, 61, 70, 80, 91, 100]
    assert not any('\r' in line or '\033' in line for line in lines)
    assert 'top-1' not in lines[0]
    assert 'top-1 50.0' in lines[-1]


def test_terminal_gets_one_line_that_is_rewritten(monkeypatch):
    text = _train(monkeypatch, True, 5)
    assert text.count('\r') == 5
    assert text.count('\n') == 1
    assert text.endswith('left\n')


def test_terminal_is_not_flooded(monkeypatch):
    assert _train(monkeypatch, True, 500, interval=3600.0).count('\r') == 1


def test_resumed_run_counts_from_where_it_was(monkeypatch):
    lines = _train(monkeypatch, False, 100, start=95).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('[####################] 100%')
