"""From scores per patch to one crop per image, or several: the base of all region selectors, and that of GLSim."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor

from ...errors import GLSimError
from ...ops import (
    SIMILARITIES,
    AttentionInputs,
    BoxPolicy,
    Regions,
    check_choice,
    class_attention,
    crop_and_resize,
    global_local_similarity,
    mutual_attention,
    patch_grid,
    select_regions,
    selection_scores,
    union_of_maps,
)
from ...selectors import SELECTORS, check_selectors
from ..utils import AttentionRecord, TokenLayout, check_image_size

OUT_TYPES = ('crops', 'tokens', 'none')
_ATTENTION_MAPS = {'class-attention': class_attention, 'maws': mutual_attention}


class SelectionInputs(NamedTuple):
    """What a selector may read to score patches.

    Attributes:
        tokens: Raw tokens, (B, P0 + N, C), CLS token first; P0 is ``layout.num_extra_tokens``.
        layout: Patch size and number of leading tokens of the encoder.
        grid: Rows and columns of patches, N = rows * columns.
        image_size: Height and width of the images in pixels.
        attention: Attention of the encoder's layers, for selectors with ``needs_attention``.
        boxes: Annotated boxes, float32 (B, 4), ``x0, y0, x1, y1`` in pixels of the images, for selectors with
            ``needs_boxes``.

    Example::

        inputs = SelectionInputs(tokens, model.layout, grid=(14, 14), image_size=(224, 224))
        model.neck.score_patches(inputs)  # (B, 196)
    """

    tokens: Tensor
    layout: TokenLayout
    grid: tuple[int, int]
    image_size: tuple[int, int]
    attention: AttentionRecord | None = None
    boxes: Tensor | None = None

    @property
    def patches_from(self) -> int:
        """Tokens before the first patch in the recorded attention, CLS first.

        An encoder may return more leading tokens than it attends to: the CLS tokens of earlier blocks.
        """
        assert self.attention is not None
        return self.attention.inputs[-1].queries.shape[-2] - self.grid[0] * self.grid[1]


class SelectedRegions(NamedTuple):
    """Where a selector looked in each image.

    Attributes:
        scores: float32, (B, N), row-major over the grid; the largest are selected. Smoothed, if the selector smooths.
        grid: Rows and columns of patches, N = rows * columns.
        indices: int64, (B, O), selected patches, best first.
        boxes: int64, (B, 4), ``x0, y0, x1, y1`` in pixels of the network input, end exclusive. With R > 1 regions (B,
            R, 4).
        crops: (B, 3, S_h, S_w), the boxes resized, dtype of the images. With R > 1 regions (B, R, 3, S_h, S_w).

    Example::

        regions = model.extract_feat(images, stage='selector')  # of a GLSimClassifier
        regions.boxes, regions.scores.unflatten(1, regions.grid)  # (B, 4), (B, h, w)
    """

    scores: Tensor
    grid: tuple[int, int]
    indices: Tensor
    boxes: Tensor
    crops: Tensor


class RegionSelector(BaseModule):
    """Crops the bounding box of the best patches; a subclass says which patches are best.

    Selection and cropping carry no gradient, loop over no image and never wait for the device. Where no patch stands
    out, because all scores of an image are equal or NaN, the whole image is the region.

    GLSim crops one region. Several cost one more pass of the encoder each: ``num_regions`` of every value in ``top_o``.
    The fields from ``smoothing`` on are not in the paper; their defaults change nothing. See
    :class:`glsim_mm.ops.BoxPolicy` for the order in which they act.

    Args:
        top_o: How many patches to select (the paper's O: 8, and 16 for Stanford Dogs). More than the image has selects
            all. Several values make a region, or ``num_regions``, each.
        box_end: ``'exclusive'`` leaves out the last selected row and column, as the authors' code does; ``'inclusive'``
            keeps them.
        crop_size: Height and width to which crops are resized, in pixels; None for that of the network
            input.
        num_regions: Regions for each value of ``top_o``; 1 is the box around all selected patches.
        region_method: How several regions are found: ``'components'``, boxes around the largest groups of selected
            patches that touch, or ``'windows'``, the best squares that do not overlap; see
            :mod:`glsim_mm.ops.region_boxes`.
        out_type: What joins the image's CLS token in the head: ``'crops'``, the encoded regions; ``'tokens'``, the
            selected patch tokens themselves, best first and without gradient, so that the encoder runs once; or
            ``'none'``.
        smoothing: Standard deviation, in patches, of a Gaussian that blurs the scores before they select; 0 for none.
        coverage: Share, in (0, 1], of the scores' mass above their mean that the box holds, in place of ``top_o``
            patches; see :func:`glsim_mm.ops.covering_boxes`. None for ``top_o``.
        margin: Widening of the box at each side, as a share of its own height and width.
        aspect: ``'free'``; ``'image'``: the box grows to the image's ratio of sides; or ``'square'``.
        min_share: Least share of the image's height and width; smaller boxes grow to it.
        max_share: Largest share of them; larger boxes shrink to it.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: If a value is out of range, or ``out_type`` or ``coverage`` is not for several regions.

    Example::

        neck=dict(type='GLSimSelector', top_o=(4, 8), box_end='inclusive')  # two crops per image
        neck=dict(type='GLSimSelector', coverage=0.7, margin=0.1, min_share=0.4)  # one, as large as the object
    """

    needs_attention = False
    """Whether :meth:`score_patches` reads ``inputs.attention``; only then is attention recorded."""

    needs_boxes = False
    """Whether it reads ``inputs.boxes``."""

    def __init__(
        self,
        top_o: int | Sequence[int] = 8,
        box_end: str = 'exclusive',
        crop_size: int | tuple[int, int] | None = None,
        num_regions: int = 1,
        region_method: str = 'components',
        out_type: str = 'crops',
        smoothing: float = 0.0,
        coverage: float | None = None,
        margin: float = 0.0,
        aspect: str = 'free',
        min_share: float = 0.0,
        max_share: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        top_o = top_o if isinstance(top_o, int) else tuple(top_o)
        shape = smoothing, coverage, margin, aspect, min_share, max_share
        self.policy = BoxPolicy(top_o, box_end, num_regions, region_method, *shape).check()
        check_choice('out_type', out_type, OUT_TYPES)
        if out_type != 'crops' and self.policy.num_boxes > 1:
            raise ValueError(f'out_type={out_type!r} is for one region: give top_o one value and num_regions=1')
        self.scales = self.policy.scales
        self.top_o = top_o
        self.num_regions = num_regions
        self.out_type = out_type
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size

    @abstractmethod
    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Score every patch, float32 (B, N); the largest will be selected."""

    def known_boxes(self, inputs: SelectionInputs) -> Tensor | None:
        """Boxes, int64 (B, R, 4), of a selector whose boxes do not come from scores; None of all others."""
        return None

    def select(self, scores: Tensor, inputs: SelectionInputs) -> Regions:
        """Patches and boxes of scores (B, N), by the selector's policy; see :func:`glsim_mm.ops.select_regions`."""
        place = inputs.grid, inputs.layout.patch_size, inputs.image_size
        return select_regions(scores, *place, self.policy, self.known_boxes(inputs))

    @torch.no_grad()
    def forward(
        self,
        tokens: Tensor,
        images: Tensor | None = None,
        layout: TokenLayout | None = None,
        attention: AttentionRecord | None = None,
        boxes: Tensor | None = None,
        size: tuple[int, int] | None = None,
        samples: int = 1,
    ) -> SelectedRegions:
        """Select and crop one region of every image, or several.

        Args:
            tokens: Raw tokens of the images, (B, P0 + N, C), CLS token first.
            images: The images that were encoded, (B, 3, H, W), or the same with more pixels.
            layout: Patch size in pixels of ``images``, and number of leading tokens P0 of the encoder.
            attention: Attention of the encoder's layers; see :attr:`needs_attention`.
            boxes: Annotated boxes, (B, 4); see :attr:`needs_boxes`.
            size: Height and width of crops where :attr:`crop_size` is None. Defaults to those of ``images``.
            samples: See :func:`glsim_mm.ops.crop_and_resize`.

        Raises:
            GLSimError: If the number of tokens does not belong to this image and patch size, or another classifier than
                :class:`GLSimClassifier` calls, which gives tokens alone.
        """
        if images is None or layout is None:
            raise not_in_classifier(self)
        image_size = (images.shape[-2], images.shape[-1])
        inputs = SelectionInputs(tokens, layout, _grid(tokens, image_size, layout), image_size, attention, boxes)
        scores, indices, located = self.select(self.score_patches(inputs), inputs)
        if located.shape[1] == 1:
            located = located[:, 0]
        crops = crop_and_resize(images, located, self.crop_size or size or image_size, samples)
        return SelectedRegions(scores, inputs.grid, indices, located, crops)


def read_attention(inputs: SelectionInputs, selector: str) -> AttentionRecord:
    """The encoder's attention, for a selector of that name; :class:`GLSimError` if it was not recorded."""
    if inputs.attention is None:
        raise GLSimError(
            f'{selector} needs the attention of the encoder: run the encoder within record_attention() and pass the '
            'record, as GLSimClassifier does.'
        )
    return inputs.attention


def read_layer(inputs: SelectionInputs, selector: str, layer: int = -1) -> AttentionInputs:
    """Queries and keys of one layer, -1 for the last; :class:`GLSimError` if the encoder has no such layer."""
    record = read_attention(inputs, selector)
    if not -len(record) <= layer < len(record):
        raise GLSimError(
            f'{selector}: layer={layer}, but the encoder has {len(record)} layers; set model.neck.layer between '
            f'{-len(record)} and {len(record) - 1}.'
        )
    return record.inputs[layer]


def not_in_classifier(selector: RegionSelector) -> GLSimError:
    """What is wrong with a selector as the neck of mmpretrain's ``ImageClassifier``."""
    return GLSimError(
        f'{type(selector).__name__} selects regions for GLSimClassifier to crop and is no neck of ImageClassifier: set '
        "model.type='GLSimClassifier' with model.backbone.out_type='raw' and AggregatorHead as model.head, or remove "
        'model.neck for a plain ViT.'
    )


def build_selector(name: str, **settings) -> RegionSelector:
    """A selector in evaluation mode by its name in :data:`glsim_mm.selectors.SELECTORS`.

    ``settings`` are arguments of :class:`RegionSelector`, for example ``top_o``.
    """
    check_selectors([name])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build({**SELECTORS[name].config, **settings}).eval()


def _grid(tokens: Tensor, image_size: tuple[int, int], layout: TokenLayout) -> tuple[int, int]:
    """Rows and columns of patches, checked against the number of tokens."""
    check_image_size(image_size, layout.patch_size)
    grid = patch_grid(image_size, layout.patch_size)
    num_patches = tokens.shape[1] - layout.num_extra_tokens
    if grid[0] * grid[1] != num_patches:
        raise GLSimError(
            f'The backbone returned {num_patches} patch tokens, but a {image_size[0]}x{image_size[1]} image has '
            f'{grid[0]}x{grid[1]} patches of {layout.patch_size[0]}x{layout.patch_size[1]}: the backbone must '
            'return every patch token of its last layer.'
        )
    return grid


@MODELS.register_module()
class GLSimSelector(RegionSelector):
    """Selects the patches whose tokens are most similar to the CLS token (arXiv 2407.12891, section 3.2).

    It reads tokens only, no attention matrix, so the encoder keeps fused attention. See :class:`RegionSelector` for the
    other arguments.

    Args:
        similarity: ``'cos'``, ``'l1'`` or ``'l2'``, see :func:`glsim_mm.ops.global_local_similarity`.
        union_with: ``'class-attention'`` or ``'maws'``: patches that stand out in that attention of the last layer are
            selected too; see :func:`glsim_mm.ops.union_of_maps`. Queries and keys are recorded for it, attention stays
            fused, and a row of the matrix is made (for MAWS, a column too). None, the paper's, for similarity alone.

    Example::

        neck=dict(type='GLSimSelector', similarity='cos', top_o=8)
    """

    def __init__(self, similarity: str = 'cos', union_with: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        check_choice('similarity', similarity, SIMILARITIES)
        if union_with is not None:
            check_choice('union_with', union_with, tuple(_ATTENTION_MAPS))
        self.similarity = similarity
        self.union_with = union_with
        self.needs_attention = union_with is not None

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Similarity of every patch token to the CLS token, larger is more similar; see the base class.

        With ``union_with``, the larger of similarity and attention, each scaled to [0, 1].
        """
        patches = inputs.tokens[:, inputs.layout.num_extra_tokens :]
        similarities = global_local_similarity(inputs.tokens[:, 0], patches, self.similarity)
        scores = selection_scores(similarities, self.similarity)
        if self.union_with is None:
            return scores
        attended = _ATTENTION_MAPS[self.union_with]
        layer = read_layer(inputs, type(self).__name__)
        return union_of_maps(scores, attended(layer, inputs.patches_from))
