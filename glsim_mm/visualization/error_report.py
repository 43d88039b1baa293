"""What a model confuses, as a page of HTML with pictures that needs no other file, no network and no scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .prediction import Prediction
from .report import ReportSettings, embed_panel, render_page


@dataclass
class PairPictures:
    """Images of one class that were taken for another.

    Attributes:
        truth (str): Name of the true class.
        predicted (str): Name of the predicted class.
        images (int): How many there are.
        share (float): Of the true class's images, percent.
        mistakes (list[Prediction]): Some of them.
        reference (Prediction): An image of the predicted class, for comparison. Defaults to None.
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
        name (str): Of the class.
        images (int): Of it, at least 1.
        right (int): Images that were recognised.
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
    for; the most confident mistakes; accuracy of every class, lowest first. Names and paths are escaped.

    Args:
        pairs (Sequence[PairPictures]): In the order to show.
        mistakes (Sequence[Prediction]): In the order to show.
        classes (Sequence[ClassAccuracy]): Every class with images.
        metrics (Mapping[str, float], optional): Values by name.
        settings (ReportSettings, optional): Defaults to those of the class.

    Returns:
        str: HTML.
    """
    settings = settings or ReportSettings(title='What the model confuses')
    total, right = sum(row.images for row in classes), sum(row.right for row in classes)

    def pictures(items: Sequence[Prediction]) -> list[tuple[Prediction, str]]:
        return [(item, embed_panel(item, settings)) for item in items]

    return render_page(
        'error_report.html',
        settings,
        total=total,
        known=total,
        mistakes=total - right,
        accuracy=f'{100 * right / total:.1f} %' if total else None,
        metrics=dict(metrics or {}),
        pairs=[
            dict(
                vars(pair),
                mistakes=pictures(pair.mistakes),
                reference=pictures([pair.reference])[0] if pair.reference else None,
            )
            for pair in pairs
        ],
        cards=[dict(prediction=item, source=source) for item, source in pictures(mistakes)],
        classes=sorted(classes, key=lambda row: (row.accuracy, -row.images, row.name)),
    )
