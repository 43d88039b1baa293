"""Predictions as a page of HTML that needs no other file, no network and no scripts."""

import base64
import datetime
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .panel import draw_panel, percent
from .prediction import Prediction

TEMPLATES = Path(__file__).parent / 'templates'
JPEG_QUALITY = 90


@dataclass
class ReportSettings:
    """What the report says of itself, and how its panels look.

    Attributes:
        config: Name of the config.
        checkpoint: Name of the checkpoint.
        selector: What selected the regions; empty for models that select none.
        date: Defaults to today.
        side: See :func:`draw_panel`.
        colormap: See :func:`draw_panel`.
        scaling: See :func:`draw_panel`.
        only_mistakes: Draw mistakes only; accuracy and table count all.
        title: Of the page.
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
    """A class and its mistakes.

    Attributes:
        name: Of the true class.
        images: How many of it there are.
        errors: How many of them are wrong.
        taken_for: Classes they were taken for and how often, most frequent first.
    """

    name: str
    images: int
    errors: int
    taken_for: list[tuple[str, int]]


def sort_predictions(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Order predictions by what there is to learn from them.

    Returns:
        Mistakes first, the most confident first; then the others, the least confident first.
    """

    def order(prediction: Prediction) -> tuple[bool, float]:
        is_mistake = prediction.is_right is False
        return not is_mistake, -prediction.score if is_mistake else prediction.score

    return sorted(predictions, key=order)


def list_errors(predictions: Iterable[Prediction]) -> list[ClassErrors]:
    """Count mistakes per true class.

    Args:
        predictions: Those of unknown class are left out.

    Returns:
        Classes with mistakes, the most first.
    """
    images: Counter[str] = Counter()
    taken_for: dict[str, Counter[str]] = defaultdict(Counter)
    for prediction in predictions:
        if prediction.truth is not None:
            images[prediction.truth] += 1
            if not prediction.is_right:
                taken_for[prediction.truth][prediction.predicted] += 1
    rows = [ClassErrors(name, images[name], wrong.total(), wrong.most_common()) for name, wrong in taken_for.items()]
    return sorted(rows, key=lambda row: (-row.errors, row.name))


def render_report(predictions: Sequence[Prediction], settings: ReportSettings | None = None) -> str:
    """Draw predictions into one page of HTML: summary, mistakes per class, a panel for each image.

    Names and paths are escaped, so nothing in them runs. Panels are embedded as JPEG, in the order of
    :func:`sort_predictions`.

    Args:
        predictions: What to draw.
        settings: Defaults to those of the class.

    Returns:
        HTML.
    """
    settings = settings or ReportSettings()
    known = [prediction for prediction in predictions if prediction.is_right is not None]
    mistakes = sum(not prediction.is_right for prediction in known)
    drawn = sort_predictions(predictions)
    if settings.only_mistakes:
        drawn = [prediction for prediction in drawn if prediction.is_right is False]
    return render_page(
        'report.html',
        settings,
        total=len(predictions),
        known=len(known),
        mistakes=mistakes,
        accuracy=f'{100 * (1 - mistakes / len(known)):.1f} %' if known else None,
        errors=list_errors(known),
        groups=_groups(drawn, settings),
    )


def render_page(template: str, settings: ReportSettings, **content: Any) -> str:
    """Fill a template; every text is escaped, so nothing in names and paths runs.

    Args:
        template: Name of a file in ``templates/``.
        settings: Of the page.
        **content: What the template shows.

    Returns:
        HTML.
    """
    from jinja2 import Environment, FileSystemLoader  # here, for few need it

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters['percent'] = percent
    date = settings.date or datetime.date.today().isoformat()
    return environment.get_template(template).render(settings=settings, date=date, **content)


def _groups(drawn: Sequence[Prediction], settings: ReportSettings) -> list[dict]:
    """Mistakes, right ones and those of unknown class, each with what the template shows of it."""
    titles = {False: 'Mistakes', True: 'Right', None: 'Of unknown class'}
    orders = {False: 'most confident first', True: 'least confident first', None: 'least confident first'}
    groups = []
    for key, title in titles.items():
        members = [prediction for prediction in drawn if prediction.is_right is key]
        if members:
            cards = (dict(prediction=member, source=embed_panel(member, settings)) for member in members)
            groups.append(dict(title=title, order=orders[key], number=len(members), cards=cards))
    return groups


def embed_panel(prediction: Prediction, settings: ReportSettings) -> str:
    """A panel as a data URL, without its words, which are written in HTML, whose fonts know more scripts.

    Args:
        prediction: What to draw.
        settings: How.

    Returns:
        See :func:`data_url`.
    """
    return data_url(draw_panel(prediction, settings.side, settings.colormap, settings.scaling, words=False))


def data_url(picture: np.ndarray) -> str:
    """A picture as a URL that holds it, JPEG.

    Args:
        picture: (H, W, 3) uint8 RGB.

    Returns:
        ``data:image/jpeg;base64,...``.
    """
    buffer = io.BytesIO()
    # Without subsampling of colours, which blurs coloured frames and text.
    Image.fromarray(picture).save(buffer, 'JPEG', quality=JPEG_QUALITY, subsampling=0)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode('ascii')
