"""The report of mistakes as a page of HTML."""

from html.parser import HTMLParser

from test_visualization.example_predictions import make_prediction

from glsim_mm.visualization import ClassAccuracy, PairPictures, render_error_report

EVIL = '<script>alert(1)</script>"\' onload=x'


def test_classes_with_the_lowest_accuracy_come_first():
    html = render_error_report([], [], [ClassAccuracy('Crow', 4, 4), ClassAccuracy('Gull', 4, 1)], dict(top1=62.5))
    assert html.index('<td>Gull</td>') < html.index('<td>Crow</td>')
    assert '62.5 %' in html and '5 right, 3 wrong' in html and '1 of 4' in html


def test_names_and_paths_do_not_run():
    mistake = make_prediction((32, 32), truth=EVIL, path=EVIL)
    pair = PairPictures(EVIL, EVIL, 1, 50.0, [mistake], mistake)
    html = render_error_report([pair], [mistake], [ClassAccuracy(EVIL, 2, 1)], {EVIL: 1.0})
    tags: list[tuple[str, dict]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(html)
    assert 'script' not in {tag for tag, _ in tags}
    assert not any('onload' in attributes for _, attributes in tags)
    pictures = [attributes for tag, attributes in tags if tag == 'img']
    assert len(pictures) == 3 and all(EVIL in attributes['alt'] for attributes in pictures)


def test_pair_without_pictures():
    html = render_error_report([PairPictures('Gull', 'Crow', 2, 50.0)], [], [ClassAccuracy('Gull', 4, 2)])
    assert 'Gull taken for Crow' in html and '<img' not in html
