"""Predictions and mistakes as pages of HTML that need no other file, no network and no scripts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .html_pages import PAGE_BYTES, Piece, data_url, render_piece, write_pages
from .panel import Prediction, draw_panel, fit_height, with_boxes


@dataclass
class ReportSettings:
    """What the report says of itself, and how its panels look.

    Attributes:
        config: Name of the config.
        checkpoint: Name of the checkpoint.
        selector: What selected the regions; empty for models that select none.
        date: Defaults to today.
        side, colormap, scaling: See :func:`draw_panel`.
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
    colormap: str = 'cividis'
    scaling: str = 'rank'
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
    return write_pages(
        path,
        'report.html',
        _cards(drawn, settings, read),
        limit,
        settings=settings,
        total=len(predictions),
        known=len(known),
        mistakes=mistakes,
        accuracy=f'{100 * (1 - mistakes / len(known)):.1f} %' if known else None,
        errors=list_errors(known),
        drawn=len(drawn),
    )


def _cards(
    drawn: Sequence[Prediction], settings: ReportSettings, read: Callable[[Prediction], Prediction]
) -> Iterator[Piece]:
    """Mistakes, right ones and those of unknown class; the first of each has a heading."""
    titles = {False: 'Mistakes', True: 'Right', None: 'Of unknown class'}
    orders = {False: 'most confident first', True: 'least confident first', None: 'least confident first'}
    for key, title in titles.items():
        members = [prediction for prediction in drawn if prediction.is_right is key]
        for place, member in enumerate(members):
            heading = dict(title='' if place else title, order=orders[key], number=len(members))
            card = render_piece(
                'report_card.html', prediction=member, source=embed_panel(read(member), settings), **heading
            )
            yield partial(_as_it_is, card)


def _as_it_is(piece: str, left: dict[Any, Any]) -> str:
    return piece


def embed_panel(prediction: Prediction, settings: ReportSettings) -> str:
    """A panel as a data URL, without its words, which are written in HTML, whose fonts know more scripts."""
    return data_url(draw_panel(prediction, settings.side, settings.colormap, settings.scaling, words=False))


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
) -> Path:
    """Draw a model's mistakes into one page of HTML, of as many images as are given.

    It shows the metrics; the most confused pairs of classes, each with some of its images beside one of the class they
    were taken for, boxes drawn; the most confident mistakes as panels; and the accuracy of every class, lowest first.
    Pairs and mistakes keep their order. Names and paths are escaped.
    """
    settings = settings or ReportSettings(title='What the model confuses')
    in_pairs = [item for pair in pairs for item in [*pair.mistakes, pair.reference] if item]
    total, right = sum(row.images for row in classes), sum(row.right for row in classes)
    (written,) = write_pages(
        path,
        'error_report.html',
        (),
        settings=settings,
        total=total,
        known=total,
        mistakes=total - right,
        accuracy=f'{100 * right / total:.1f} %' if total else None,
        metrics=dict(metrics or {}),
        pairs=[_row(pair, settings.side) for pair in pairs],
        cards=[dict(prediction=item, source=embed_panel(item, settings)) for item in mistakes],
        has_selected=any(item.boxes for item in in_pairs),
        has_annotated=any(item.annotated_box is not None for item in in_pairs),
        classes=sorted(classes, key=lambda row: (row.accuracy, -row.images, row.name)),
    )
    return written


def _row(pair: PairPictures, side: int) -> dict:
    """What the template shows of a pair; photos without heat maps, so that they fit side by side."""

    def photo(item: Prediction) -> tuple[Prediction, str]:
        return item, data_url(with_boxes(fit_height(item.image, side), item))

    reference = photo(pair.reference) if pair.reference else None
    return dict(vars(pair), mistakes=[photo(item) for item in pair.mistakes], reference=reference)
