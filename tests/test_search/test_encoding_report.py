"""What a run that encodes images tells at its end."""

from glsim_mm.search.encoded import EncodingError, EncodingReport, format_report, sorted_errors


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
