"""Predictions and mistakes as pages of HTML that need no other file, no network and no scripts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.names import pretty_name

from .html_pages import PAGE_BYTES, Piece, data_url, render_piece, small_url, write_pages
from .overlays import light_bar
from .panel import Prediction, fit_height, panel_tiles, with_boxes


@dataclass
class ReportSettings:
    """What the report says of itself, and how its panels look.

    Attributes:
        config: Name of the config.
        checkpoint: Name of the checkpoint.
        selector: What selected the regions; empty for models that select none.
        date: Defaults to today.
        side, scaling: See :func:`draw_panel`.
        only_mistakes: Draw mistakes only; accuracy and table count all.
        title: Title of the page.

    Example::

        write_report('report.html', predictions, ReportSettings(config='glsim_vit_cub.py', only_mistakes=True))
    """

    config: str = ''
    checkpoint: str = ''
    selector: str = ''
    date: str = ''
    side: int = 192
    scaling: str = 'linear'
    only_mistakes: bool = False
    title: str = 'Where the model looked'


@dataclass
class ClassErrors:
    """How many images a class has, how many of them are wrong, and what they were taken for, most frequent first."""

    name: str
    images: int
    errors: int
    taken_for: list[tuple[str, int]]


def sort_predictions(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Mistakes first, the most confident of them first; then the others, the least confident first."""

    def order(prediction: Prediction) -> tuple[bool, float]:
        is_mistake = prediction.is_right is False
        return not is_mistake, -prediction.score if is_mistake else prediction.score

    return sorted(predictions, key=order)


def list_errors(predictions: Iterable[Prediction]) -> list[ClassErrors]:
    """Count mistakes per true class, the class with the most first; predictions of unknown class are left out."""
    images: Counter[str] = Counter()
    taken_for: dict[str, Counter[str]] = defaultdict(Counter)
    for prediction in predictions:
        if prediction.truth is not None:
            images[prediction.truth] += 1
            if not prediction.is_right:
                taken_for[prediction.truth][prediction.predicted] += 1
    rows = [ClassErrors(name, images[name], wrong.total(), wrong.most_common()) for name, wrong in taken_for.items()]
    return sorted(rows, key=lambda row: (-row.errors, row.name))


def write_report(
    path: str | Path,
    predictions: Sequence[Prediction],
    settings: ReportSettings | None = None,
    limit: int = PAGE_BYTES,
    read: Callable[[Prediction], Prediction] = copy,
) -> list[Path]:
    """Draw predictions into a report of HTML: summary, mistakes per class, a panel for each image.

    Names and paths are escaped, so nothing in them runs. Panels are embedded as JPEG, in the order of
    :func:`sort_predictions`. Returns the files; for pages of ``limit`` bytes see
    :func:`glsim_mm.visualization.html_pages.write_pages`. ``read`` gives a prediction its image when it is drawn, where
    many would not fit into memory.
    """
    settings = settings or ReportSettings()
    known = [prediction for prediction in predictions if prediction.is_right is not None]
    mistakes = sum(not prediction.is_right for prediction in known)
    drawn = sort_predictions(predictions)
    if settings.only_mistakes:
        drawn = [prediction for prediction in drawn if prediction.is_right is False]

    def pieces() -> Iterator[Piece]:
        columns = ('Class', 'text'), ('Wrong', 'number'), ('Taken for', 'text')
        rows = [
            (pretty_name(row.name), f'{row.errors} of {row.images}', _counted(row.taken_for))
            for row in list_errors(known)
        ]
        yield from _table('Mistakes by class', 'most first', columns, rows)
        for title, order, members in _by_outcome(drawn):
            yield from _cards(title, f'{len(members)}, {order}', members, settings, read)
        if not drawn:
            yield _fixed('<p>There is nothing to show: no mistake was made.</p>' if known else _NOTHING)

    counts = dict(total=len(predictions), known=len(known), mistakes=mistakes)
    return _write(path, pieces(), settings, counts, drawn, limit)


_NOTHING = '<p>There is nothing to show.</p>'
_ROWS_AT_ONCE = 500
_LARGEST_SIDE = 640  # pixels; so that the pictures of an image never fill a page


def _write(
    path: str | Path,
    pieces: Iterable[Piece],
    settings: ReportSettings,
    counts: Mapping[str, int],
    drawn: Sequence[Prediction],
    limit: int,
) -> list[Path]:
    """Pages with a summary of counts and a legend of what is drawn of predictions."""
    share = 100 * (1 - counts['mistakes'] / counts['known']) if counts['known'] else None
    has_map = any(item.similarity_map is not None for item in drawn)
    return write_pages(
        path,
        'report.html',
        pieces,
        limit,
        settings=settings,
        accuracy=None if share is None else f'{share:.1f} %',
        bar=small_url(light_bar(1, 64)) if has_map else '',
        has_selected=any(item.boxes for item in drawn),
        has_border=any(item.similarity_map is not None and item.has_border for item in drawn),
        has_annotated=any(item.annotated_box is not None for item in drawn),
        **counts,
    )


def _by_outcome(drawn: Sequence[Prediction]) -> Iterator[tuple[str, str, list[Prediction]]]:
    """Mistakes, right ones and those of unknown class: a title, how they are ordered, and the predictions."""
    titles = {False: 'Mistakes', True: 'Right', None: 'Of unknown class'}
    for key, title in titles.items():
        members = [prediction for prediction in drawn if prediction.is_right is key]
        yield title, 'most confident first' if key is False else 'least confident first', members


def _cards(
    title: str,
    note: str,
    members: Sequence[Prediction],
    settings: ReportSettings,
    read: Callable[[Prediction], Prediction] = copy,
) -> Iterator[Piece]:
    """A piece for each prediction."""
    for place, member in enumerate(members):
        content = dict(title=title, note=note, item=member, tiles=_tiles(read(member), settings))
        yield under_title('report_card.html', place > 0, content)


def _tiles(prediction: Prediction, settings: ReportSettings) -> list[tuple[str, str, int, int]]:
    """Name, data URL, width and height of the pictures of a panel; words are HTML, whose fonts know all scripts."""
    tiles = panel_tiles(prediction, min(settings.side, _LARGEST_SIDE), settings.scaling, padded=False)
    return [(name, data_url(picture), picture.shape[1], picture.shape[0]) for name, picture in tiles]


def _table(
    title: str, note: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]
) -> Iterator[Piece]:
    """Pieces of some hundred rows each, so that tables of any length fit on pages."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        content = dict(title=title, note=note, columns=columns, rows=rows[start : start + _ROWS_AT_ONCE])
        yield under_title('report_table.html', start > 0, content)


def under_title(template: str, is_continued: bool, content: dict[str, Any]) -> Piece:
    """A piece of a section; the first piece of it on a page has the title, for headings to be whole on every page."""

    def piece(left: dict[Any, Any]) -> str:
        is_titled = left.setdefault('title', '') == content['title']
        left['title'] = content['title']
        return render_piece(template, **content, is_titled=is_titled, is_continued=is_continued)

    return piece


def _counted(names: Sequence[tuple[str, int]]) -> str:
    return ', '.join(f'{pretty_name(name)} ({count})' if count > 1 else pretty_name(name) for name, count in names)


def _fixed(piece: str) -> Piece:
    """A piece that does not depend on what is on the page."""
    return lambda left: piece


@dataclass
class PairPictures:
    """Images of one class that were taken for another.

    Attributes:
        truth, predicted: Names of the true and the predicted class.
        images: How many there are.
        share: Their share of the true class's images, percent.
        mistakes: Some of them.
        reference: An image of the predicted class, for comparison.

    Example::

        PairPictures('Common Raven', 'Fish Crow', images=3, share=10.0, mistakes=[prediction])
    """

    truth: str
    predicted: str
    images: int
    share: float
    mistakes: list[Prediction] = field(default_factory=list)
    reference: Prediction | None = None


@dataclass
class ClassAccuracy:
    """How many images a class has, at least 1, and how many of them are recognised.

    Example::

        ClassAccuracy('Fish Crow', images=30, right=24).accuracy  # 80.0
    """

    name: str
    images: int
    right: int

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100.0 * self.right / self.images


def write_error_report_page(
    path: str | Path,
    pairs: Sequence[PairPictures],
    mistakes: Sequence[Prediction],
    classes: Sequence[ClassAccuracy],
    metrics: Mapping[str, float] | None = None,
    settings: ReportSettings | None = None,
    limit: int = PAGE_BYTES,
) -> list[Path]:
    """Draw a model's mistakes into pages of HTML, of as many images as are given, and return the files.

    It shows the metrics; the most confused pairs of classes, each with some of its images beside one of the class they
    were taken for, boxes drawn; the most confident mistakes as panels; and the accuracy of every class, lowest first.
    Pairs and mistakes keep their order. Names and paths are escaped.
    """
    settings = settings or ReportSettings(title='What the model confuses')
    total, right = sum(row.images for row in classes), sum(row.right for row in classes)

    def pieces() -> Iterator[Piece]:
        columns = [('Metric', 'text'), ('Value', 'number')]
        yield from _table('Metrics', '', columns, [(name, f'{value:.4g}') for name, value in (metrics or {}).items()])
        for place, pair in enumerate(pairs):
            content = dict(title='Most confused pairs', note='', **_row(pair, settings.side))
            yield under_title('report_pair.html', place > 0, content)
        yield from _cards('Mistakes', f'the {len(mistakes)} most confident of {total - right}', mistakes, settings)
        if not mistakes:
            yield _fixed('<p>There is nothing to show: no mistake was made.</p>')
        columns = [('Class', 'text'), ('Right', 'number'), ('%', 'number'), ('of 100 %', 'bar')]
        ordered = sorted(classes, key=lambda row: (row.accuracy, -row.images, row.name))
        rows = [
            (pretty_name(row.name), f'{row.right} of {row.images}', f'{row.accuracy:.1f}', row.accuracy)
            for row in ordered
        ]
        yield from _table('Accuracy by class', 'lowest first', columns, rows)

    in_pairs = [item for pair in pairs for item in [*pair.mistakes, pair.reference] if item]
    counts = dict(total=total, known=total, mistakes=total - right)
    return _write(path, pieces(), settings, counts, [*mistakes, *in_pairs], limit)


def _row(pair: PairPictures, side: int) -> dict[str, Any]:
    """What the template shows of a pair; photos without heat maps, so that they fit side by side."""

    def photo(item: Prediction) -> tuple[Prediction, str]:
        return item, data_url(with_boxes(fit_height(item.image, min(side, _LARGEST_SIDE)), item))

    reference = photo(pair.reference) if pair.reference else None
    return dict(pair=pair, mistakes=[photo(item) for item in pair.mistakes], reference=reference)
