"""When the second pass is run, the one that encodes the crop."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import GLSimError

CROP_POLICIES = ('always', 'adaptive', 'centre_first', 'off')
AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class TestOptions:
    """``test_cfg`` of a :class:`GLSimClassifier`; a value out of range is a :class:`GLSimError`.

    One checkpoint serves all of it, if its head was trained for it: ``sequence_weights`` of :class:`AggregatorHead`.

    Attributes:
        crop: ``'always'`` encodes the crop of every image, as the paper does; ``'off'`` of none, which costs one pass;
            ``'adaptive'`` of those images of which the first pass is not sure; ``'centre_first'`` encodes the middle of
            every image, and the crop, as a third view, of those images where image and middle disagree on the class.
        threshold: With ``'adaptive'``, the crop is encoded where the likeliest class of the first pass is less than
            this ahead of the second, see :func:`margin`, in [0, 1]: 0 never, 1 nearly always.
        share: With ``'centre_first'``, the middle's share, in (0, 1], of the height and width of the image.
        amp: Predict in mixed precision, ``'bf16'`` or ``'fp16'``. None for float32.

    Example::

        test_cfg=dict(crop='adaptive', threshold=0.5)  # of a GLSimClassifier
    """

    __test__ = False  # pytest would collect it by its name

    crop: str = 'always'
    threshold: float = 0.5
    share: float = 0.65
    amp: str | None = None

    def __post_init__(self) -> None:
        if self.crop not in CROP_POLICIES:
            raise GLSimError(f'model.test_cfg.crop must be one of {", ".join(CROP_POLICIES)}, got {self.crop!r}')
        if not 0 <= self.threshold <= 1:
            raise GLSimError(
                f'model.test_cfg.threshold is a difference of probabilities, from 0 to 1, got {self.threshold}'
            )
        if not 0 < self.share <= 1:
            raise GLSimError(f'model.test_cfg.share is a share of the image, above 0 and at most 1, got {self.share}')
        if self.amp is not None and self.amp not in AMP_TYPES:
            raise GLSimError(f'model.test_cfg.amp must be None or one of {", ".join(AMP_TYPES)}, got {self.amp!r}')


def read_test_options(test_cfg: dict | None) -> TestOptions:
    """Check ``test_cfg`` of a config, fields of :class:`TestOptions`; None stands for the defaults."""
    fields = dict(test_cfg or {})
    unknown = set(fields) - set(TestOptions.__dataclass_fields__)
    if unknown:
        known = ', '.join(TestOptions.__dataclass_fields__)
        raise GLSimError(f'model.test_cfg has no field {sorted(unknown)[0]!r}; it has {known}')
    return TestOptions(**fields)


def margin(logits: Tensor) -> Tensor:
    """How far the likeliest class is ahead of the second, float32 (B,), from logits (B, K); 1 where K is 1.

    This difference of the two largest probabilities is "best versus second best" (Joshi et al., CVPR 2009). The
    probability of the likeliest class alone falls also where many unlikely ones share the rest, and chooses worse
    (docs/studies/performance.md).
    """
    best = logits.float().softmax(dim=1).topk(min(2, logits.shape[1]), dim=1).values
    return best[:, 0] - best[:, 1:].sum(dim=1)


def unsure(logits: Tensor, threshold: float) -> Tensor:
    """Positions, int64 (n,), of images whose :func:`margin` is below a threshold or NaN; it waits for the device."""
    return (~(margin(logits) >= threshold)).nonzero()[:, 0]
