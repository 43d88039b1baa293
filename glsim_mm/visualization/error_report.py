"""What a model confuses, as a page of HTML with pictures that needs no other file, no network and no scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .panel import fit_height, with_boxes
from .prediction import Prediction
from .report import ReportSettings, data_url, embed_panel, render_page


@dataclass
class PairPictures:
    """Images of one class that were taken for another.

    Attributes:
        truth: Name of the true class.
        predicted: Name of the predicted class.
        images: How many there are.
        share: Of the true class's images, percent.
        mistakes: Some of them.
        reference: An image of the predicted class, for comparison.
    """

    truth: str
    predicted: str
    images: int
    share: float
    mistakes: list[Prediction] = field(default_factory=list)
    reference: Prediction | None = None


@dataclass
class ClassAccuracy:
    """How well a class is recognised.

    Attributes:
        name: Of the class.
        images: Of it, at least 1.
        right: Images that were recognised.
    """

    name: str
    images: int
    right: int

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100.0 * self.right / self.images


def render_error_report(
    pairs: Sequence[PairPictures],
    mistakes: Sequence[Prediction],
    classes: Sequence[ClassAccuracy],
    metrics: Mapping[str, float] | None = None,
    settings: ReportSettings | None = None,
) -> str:
    """Draw a model's mistakes into one page of HTML.

    Metrics; the most confused pairs of classes, each with some of its images beside one of the class they were taken
    for, boxes drawn; the most confident mistakes as panels; accuracy of every class, lowest first. Names and paths are
    escaped.

    Args:
        pairs: In the order to show.
        mistakes: In the order to show.
        classes: Every class with images.
        metrics: Values by name.
        settings: Defaults to those of the class.

    Returns:
        HTML.
    """
    settings = settings or ReportSettings(title='What the model confuses')
    in_pairs = [item for pair in pairs for item in [*pair.mistakes, pair.reference] if item]
    total, right = sum(row.images for row in classes), sum(row.right for row in classes)
    return render_page(
        'error_report.html',
        settings,
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


def _row(pair: PairPictures, side: int) -> dict:
    """What the template shows of a pair; photos without heat maps, so that they fit side by side."""

    def photo(item: Prediction) -> tuple[Prediction, str]:
        return item, data_url(with_boxes(fit_height(item.image, side), item))

    reference = photo(pair.reference) if pair.reference else None
    return dict(vars(pair), mistakes=[photo(item) for item in pair.mistakes], reference=reference)
