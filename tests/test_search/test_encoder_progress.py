"""How far a run is: a bar in a terminal, lines in a log."""

import io

from rich.console import Console

from glsim_mm.progress import ProgressBar
from glsim_mm.search.encoded import EncodingError, EncodingReport, format_report, sorted_errors


def draw(terminal: bool, total: int | None = 40, **options) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with ProgressBar(total, 'encoding', console=console, **options) as bar:
        bar.advance(10)
        bar.advance(20)
    return console.file.getvalue()


def test_bar_in_a_terminal():
    text = draw(True)
    assert 'encoding' in text and '30/40' in text and 'images/s' in text and '0:00:0' in text


def test_lines_in_a_log():
    lines = draw(False, seconds_between_lines=0.0).splitlines()
    assert [line.split(',')[0] for line in lines] == [
        'encoding: 10 of 40 images',
        'encoding: 30 of 40 images',
        'encoding: 30 of 40 images',
    ]
    assert lines[0].endswith(' s left') and 'images/s' in lines[0]
    assert len(draw(False).splitlines()) == 1
    assert draw(False, total=None).startswith('encoding: 30 images, ')


def test_nothing():
    assert draw(True, enable=False) == draw(False, enable=False) == ''


def test_report():
    errors = [EncodingError(4, 'b.jpg', 'cut\noff'), EncodingError(2, 'a.jpg', 'empty'), EncodingError(4, 'b.jpg', 'x')]
    report = EncodingReport(
        'gallery',
        size=1234,
        encoded=1000,
        reused=234,
        seconds=10.0,
        spaces={'global': 384},
        preset='flat',
        preset_reason='there are few',
        unreadable=sorted_errors(errors),
    )
    assert format_report(report).splitlines() == [
        'gallery: gallery',
        'images: 1,234 in the gallery, 1,000 encoded now (100.0 images/s), 234 encoded before',
        'spaces: global (384)',
        'index: flat (there are few)',
        'unreadable: 2, left out',
        '  a.jpg: empty',
        '  b.jpg: x',
    ]
    assert format_report(report, listed=1).splitlines()[-1] == '  and 1 more'
