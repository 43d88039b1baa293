"""The progress bar: a bar in a terminal, lines in a log."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from glsim_mm.progress import ProgressBar


def draw(terminal: bool, total: int | None = 40, **options) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with ProgressBar(total, 'encoding', console=console, **options) as bar:
        bar.advance(10)
        bar.advance(20)
    return console.file.getvalue()


def test_bar_in_a_terminal():
    text = draw(True)
    assert 'encoding' in text and '30/40' in text and 'images/s' in text and '-:--:--' in text


def test_lines_in_a_log():
    lines = draw(False, seconds_between_lines=0.0).splitlines()
    assert [line.split(',')[0] for line in lines] == [
        'encoding: 10 of 40 images',
        'encoding: 30 of 40 images',
        'encoding: 30 of 40 images',
    ]
    assert lines[0].endswith(' images/s')  # the first figure says nothing about the time left


@pytest.mark.parametrize('total, start', [(40, 'encoding: 30 of 40 MB, '), (None, 'encoding: 30 MB, ')])
def test_a_short_run_is_one_line(total, start):
    text = draw(False, total, unit='MB')
    assert text.startswith(start) and text.count('\n') == 1
    assert 'left' not in text


def test_time_left_comes_from_all_but_the_start_and_counts_down(monkeypatch):
    now = [0.0]
    monkeypatch.setattr('glsim_mm.progress.time', SimpleNamespace(monotonic=lambda: now[0]))
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = ProgressBar(10, 'encoding', console=console)
    column = bar._bar.columns[-1]
    bar.start()
    shown = []
    for seconds in (60.0, 2.0, 2.0, 200.0, 2.0):
        now[0] += seconds
        bar.advance()
        shown.append(column.render(bar._bar.tasks[0]).plain)
    assert shown == ['-:--:--', '0:00:16', '0:00:14', '0:00:28', '0:00:20']
    now[0] += 3.0
    assert column.render(bar._bar.tasks[0]).plain == '0:00:17'
    bar.update(10)
    assert column.render(bar._bar.tasks[0]).plain == '0:00:00'
    bar.stop()


def test_total_and_note_may_come_later():
    console = Console(file=io.StringIO(), width=40)
    with ProgressBar(None, 'a [bracket] and more than forty letters', console=console, done=5) as bar:
        bar.update(7, 9, 'loss 2')
        bar.update(9)
    assert console.file.getvalue().startswith('a [bracket] and more than forty letters: 9 of 9 images, ')
    assert console.file.getvalue().endswith(', loss 2, 0 s left\n')


def test_nothing_is_shown_when_it_is_off_and_nothing_twice():
    assert draw(True, enable=False) == draw(False, enable=False) == ''
    console = Console(file=io.StringIO())
    with ProgressBar(1, 'x', console=console) as bar:
        bar.stop()
    assert console.file.getvalue().count('\n') == 1


def test_goes_to_standard_error_and_draws_no_bar_where_that_is_a_file(capsys, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    with ProgressBar(2, 'x') as bar:
        bar.advance()
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.startswith('x: 1 of 2 images') and '\033' not in captured.err


def test_says_nothing_where_there_was_nothing_to_do(capsys):
    with ProgressBar(None, 'x'):
        pass
    assert capsys.readouterr() == ('', '')
