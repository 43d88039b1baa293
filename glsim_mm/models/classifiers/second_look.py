"""How large the image is that each of the two looks sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ...errors import GLSimError
from ..utils import TokenLayout


@dataclass(frozen=True)
class SecondLook:
    """``second_look`` of a :class:`GLSimClassifier`; a value out of range is a :class:`GLSimError`.

    The paper's crop is cut out of the network input and enlarged, so that it shows nothing that the first pass did not
    see. With ``scale`` the pipeline delivers more pixels, and the crop is cut out of those. Boxes are in pixels of what
    the pipeline delivers, whatever the scale.

    Attributes:
        scale: The pipeline delivers images of so many times the network's size, 1 or more. The first pass sees them
            made smaller by :func:`glsim_mm.ops.shrink`. 1 is the paper's.
        first: Side of what the first pass sees as a share, above 0 and at most 1, of the network's size: 0.5 is a
            quarter of its cost. ``top_o`` of the selector counts patches of this smaller image. 1 is the paper's.

    Example::

        second_look=dict(scale=2)  # of a GLSimClassifier
    """

    scale: float = 1
    first: float = 1
    _enlarged: tuple[int, int] = field(init=False, repr=False, compare=False)
    _reduced: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _is_number(self.scale) or not 1 <= self.scale <= MAX_SCALE:
            raise GLSimError(
                'model.second_look.scale is how many times the size of the network input the pipeline delivers, from 1 '
                f'to {MAX_SCALE}, got {self.scale!r}: 1 crops from the network input, 2 from twice its pixels a side.'
            )
        if not _is_number(self.first) or not 0 < self.first <= 1:
            raise GLSimError(
                'model.second_look.first is the share of the side of the network input that the first pass sees, above '
                f'0 and at most 1, got {self.first!r}.'
            )

        enlarged, reduced = as_fraction(self.scale), as_fraction(self.scale) / as_fraction(self.first)
        # Whole numbers, which the compiler can follow.
        object.__setattr__(self, '_enlarged', (enlarged.numerator, enlarged.denominator))
        object.__setattr__(self, '_reduced', (reduced.numerator, reduced.denominator))

    @property
    def reduces(self) -> bool:
        """Whether the first pass sees anything else than the delivered image."""
        return self.scale != 1 or self.first != 1

    def network_size(self, delivered: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the network input, and of crops, of images that the pipeline delivers so large."""
        return _divide(delivered, self._enlarged)

    def first_size(self, delivered: tuple[int, int]) -> tuple[int, int]:
        """Height and width of what the first pass sees."""
        return _divide(delivered, self._reduced)

    def frame(self, layout: TokenLayout) -> TokenLayout:
        """The layout of the first pass's tokens on the delivered image.

        Raises:
            GLSimError: If its patches are not whole pixels there.
        """
        height, width = (side * Fraction(*self._reduced) for side in layout.patch_size)
        if height.denominator != 1 or width.denominator != 1:
            raise GLSimError(
                f'model.second_look: a patch of the first pass must be whole pixels of the delivered image, but '
                f'{layout.patch_size[0]} x scale {self.scale} / first {self.first} are {float(height):.4g}: choose a '
                'scale and a share that make it whole, such as 2 and 0.5.'
            )
        return layout._replace(patch_size=(int(height), int(width)))

    def check_delivered(self, delivered: tuple[int, int], own: tuple[int, int] | None) -> None:
        """Refuse images of the network's own size where the pipeline should have delivered larger ones.

        Args:
            delivered: Height and width of the images.
            own: The size for which the backbone has positions, if it is known.

        Raises:
            GLSimError: If they are the same, and ``scale`` is more than 1.
        """
        if self.scale > 1 and own == tuple(delivered):
            wanted = tuple(round(side * self.scale) for side in own)
            raise GLSimError(
                f'model.second_look.scale={self.scale} needs images of {wanted[0]}x{wanted[1]} pixels, and the '
                f'pipeline delivered the {own[0]}x{own[1]} of the network input: scale its Resize and Crop steps, as '
                'every glsim command does by itself, or set model.second_look.scale=1.'
            )


MAX_SCALE = 16


def read_second_look(second_look: Mapping[str, Any] | None) -> SecondLook:
    """Check ``second_look`` of a config, fields of :class:`SecondLook`; None stands for the paper's."""
    fields = dict(second_look or {})
    unknown = set(fields) - {'scale', 'first'}
    if unknown:
        raise GLSimError(f'model.second_look has no field {sorted(unknown)[0]!r}; it has scale, first.')
    return SecondLook(**fields)


def as_fraction(value: float) -> Fraction:
    """A scale or share as people mean it: 1.1 is 11 / 10."""
    return Fraction(value).limit_denominator(1000)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _divide(size: tuple[int, int], by: tuple[int, int]) -> tuple[int, int]:
    """By a fraction; rounded up, so that no row or column of patches is lost."""
    numerator, denominator = by
    return -(-size[0] * denominator // numerator), -(-size[1] * denominator // numerator)
