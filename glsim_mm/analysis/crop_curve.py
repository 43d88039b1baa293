"""What the second pass is worth: accuracy, speed and FLOPs of one checkpoint from no crop to every crop."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import DataLoader

from ..apis.model import load_model
from ..compat.devices import check_device
from ..errors import GLSimError
from ..models.classifiers import GLSimClassifier
from ..models.classifiers.crop_policy import TestOptions, margin
from .measuring import Spread, time_in_turns, times_as_fast
from .model_speed import count_flops
from .quality_study import build_loader


@dataclass(frozen=True)
class CurvePoint:
    """One setting of ``test_cfg``.

    Attributes:
        crop: ``'off'``, ``'adaptive'`` or ``'always'``.
        threshold: Of ``'adaptive'``: crops are encoded below this margin.
        crop_share: Share of the test images whose crop is encoded, 0 to 1.
        accuracy: Top-1 on the test set, per cent.
        images_per_second: Of ``predict`` on images in memory, median over rounds.
        speed: Times as fast as ``'always'``, round by round.
        gflops: Per image, on average, 10^9 FLOPs.
    """

    crop: str
    threshold: float
    crop_share: float
    accuracy: float
    images_per_second: float
    speed: Spread
    gflops: float


def measure_crop_curve(
    cfg: Config,
    checkpoint: str,
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.75),
    timed_images: int = 128,
    rounds: int = 5,
    device: str | torch.device | None = None,
) -> list[CurvePoint]:
    """Measure one checkpoint from ``crop='off'`` over ``'adaptive'`` to ``'always'``.

    Each of the ``shares`` of images whose crop shall be encoded is a point of the curve. Speed is measured on
    ``timed_images``, spread evenly over the test set, all points in turns.
    """
    if any(not 0 < share < 1 for share in shares):
        raise GLSimError(f'shares of crops lie between 0 and 1, got {", ".join(map(str, shares))}')
    device = check_device(device)
    model = load_model(cfg, checkpoint, device)
    if not isinstance(model, GLSimClassifier):
        raise GLSimError(f'{type(model).__name__} encodes no crops: give the config of a GLSimClassifier')
    if not model.has_crop_tokens:
        raise GLSimError(
            'the head of this model reads no CLS tokens of crops, so that it cannot do without: take another'
        )
    pipeline = cfg.test_dataloader.dataset.pipeline
    margins, right_without, right_with = _see(model, build_loader(cfg, pipeline))
    timed = build_loader(cfg, pipeline, timed_images)
    batches = [model.data_preprocessor(batch, training=False)['inputs'] for batch in timed]
    first, second = _count(model, batches[0][:1])
    settings = [TestOptions('off')]
    # The margins below which these shares of the images lie.
    thresholds = margins.double().quantile(torch.tensor(sorted(shares), dtype=torch.float64)).clamp(0, 1).tolist()
    settings += [TestOptions('adaptive', threshold) for threshold in thresholds]
    settings.append(TestOptions('always'))
    times = _time(model, settings, batches, rounds, device)
    count = sum(len(batch) for batch in batches)
    points = []
    for number, options in enumerate(settings):
        again = _encoded(options, margins)
        right = torch.where(again, right_with, right_without).double().mean().item()
        share = again.double().mean().item()
        points.append(
            CurvePoint(
                options.crop,
                options.threshold if options.crop == 'adaptive' else float(options.crop == 'always'),
                share,
                100 * right,
                count / sorted(times[number])[len(times[number]) // 2],
                times_as_fast(times[number], times[-1]),
                (first + share * second) / 1e9,
            )
        )
    return points


def format_curve(points: Sequence[CurvePoint]) -> str:
    """The points as a table of 80 columns."""
    lines = ['crop      threshold  crops %  top-1 %  images/s  x always (10 % to 90 %)  GFLOPs']
    for point in points:
        speed = f'{point.speed:.2f}'
        threshold = f'{point.threshold:.3f}' if point.crop == 'adaptive' else ''
        lines.append(
            f'{point.crop:<10}{threshold:>9}{100 * point.crop_share:>9.1f}{point.accuracy:>9.2f}'
            f'{point.images_per_second:>10.1f}{speed:>25}{point.gflops:>8.2f}'
        )
    return '\n'.join(lines)


def curve_to_json(points: Sequence[CurvePoint]) -> list[dict]:
    """The points as plain values."""
    return [{**asdict(point), 'speed': point.speed._asdict()} for point in points]


@torch.no_grad()
def _see(model: GLSimClassifier, loader: DataLoader) -> tuple[Tensor, Tensor, Tensor]:
    """The test set seen with and without crops: margin of the first pass (N,), and who is right without and with."""
    parts = []
    for batch in loader:
        data = model.data_preprocessor(batch, training=False)
        class_tokens = model.encode(data['inputs'], data_samples=data['data_samples'])[0]
        labels = torch.cat([sample.gt_label for sample in data['data_samples']]).to(class_tokens.device)
        alone = model.head((class_tokens[:, :1],)).float()
        both = model.head((class_tokens,)).float()
        parts.append((margin(alone), alone.argmax(1) == labels, both.argmax(1) == labels))
    margins, without, with_crops = (torch.cat(part).cpu() for part in zip(*parts))
    return margins, without, with_crops


def _encoded(options: TestOptions, margins: Tensor) -> Tensor:
    """Whose crop is encoded, bool (N,)."""
    if options.crop == 'adaptive':
        return ~(margins.double() >= options.threshold)
    return torch.full(margins.shape, options.crop == 'always')


def _count(model: GLSimClassifier, image: Tensor) -> tuple[int, int]:
    """FLOPs per image of the first pass with its prediction, and of what the second adds."""
    original = model.test_options
    try:
        model.test_options = TestOptions('off')
        first = count_flops(lambda: model.predict(image))
        model.test_options = TestOptions('adaptive', 1.0)
        return first, count_flops(lambda: model.predict(image)) - first
    finally:
        model.test_options = original


@torch.no_grad()
def _time(
    model: GLSimClassifier, settings: Sequence[TestOptions], batches: list[Tensor], rounds: int, device: torch.device
) -> list[list[float]]:
    def predict(options: TestOptions) -> None:
        model.test_options = options
        for batch in batches:
            model.predict(batch)

    original = model.test_options
    contenders = {str(number): partial(predict, options) for number, options in enumerate(settings)}
    try:
        return list(time_in_turns(contenders, rounds, device).values())
    finally:
        model.test_options = original
