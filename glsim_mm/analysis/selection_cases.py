"""The passes whose cost is compared: a plain encoder pass, and the same with each way of selecting regions."""

from collections.abc import Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import NamedTuple

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..errors import GLSimError
from ..models import GLSimViT, SelectionInputs, record_attention
from ..ops import patch_grid
from ..ops.cost import EncoderShape
from .published_selection import NO_SELECTION, PUBLISHED_SELECTIONS, unfused_attention

SELECTOR_TYPES = {
    'gls': 'GLSimSelector',
    'class-attention': 'ClassAttentionSelector',
    'maws': 'MAWSSelector',
    'sacm': 'SACMSelector',
    'rollout': 'RolloutSelector',
    'psm': 'PSMSelector',
    'random': 'RandomSelector',
    'center': 'CenterSelector',
}


class Case(NamedTuple):
    """One pass to measure.

    Attributes:
        selector: A name of :data:`SELECTOR_TYPES`, or ``'none'``.
        way: ``'fused'``: fused attention, whose queries and keys are recorded where the selector needs them;
            ``'published'``: unfused attention and whole matrices, as the selector's authors do it; ``'whole model'``:
            fused, and crop, crop pass and head too.
    """

    selector: str
    way: str


class PassResult(NamedTuple):
    """What one pass gave and took.

    Attributes:
        scores: float32, (B, N), larger is better; None without a selector and for the whole model.
        total: Wall time in seconds.
        scoring: The part of it that scored the patches; 0 where there are no scores.
    """

    scores: Tensor | None
    total: float
    scoring: float


PLAIN = Case('none', 'fused')


def list_cases(selectors: Sequence[str] | None = None) -> list[Case]:
    """The passes to measure, a plain encoder pass first.

    Args:
        selectors: Names of :data:`SELECTOR_TYPES`. Defaults to all.

    Returns:
        Fused and, for selectors that read attention, as published; the whole model with GLS.

    Raises:
        GLSimError: If a name is unknown.
    """
    names = list(SELECTOR_TYPES) if selectors is None else list(dict.fromkeys(selectors))
    for name in names:
        if name not in SELECTOR_TYPES:
            raise GLSimError(f'there is no selector {name!r}; choose from {", ".join(SELECTOR_TYPES)}')
    cases = [PLAIN, Case('none', 'published')]
    for name in names:
        cases.append(Case(name, 'fused'))
        if name in PUBLISHED_SELECTIONS:
            cases.append(Case(name, 'published'))
    return cases + [Case(name, 'whole model') for name in names if name == 'gls']


def vit_settings(arch: str, patch_size: int = 16) -> dict:
    """Settings of a GLSimClassifier on a plain ViT for 224 px.

    Args:
        arch: A name of ``GLSimViT.arch_zoo``, for example ``'vit-base'``.
        patch_size: Side of a patch in pixels.

    Returns:
        For mmpretrain's ``MODELS.build``.

    Raises:
        GLSimError: If there is no such architecture.
    """
    if arch not in GLSimViT.arch_zoo:
        raise GLSimError(f'there is no ViT {arch!r}; choose from {", ".join(sorted(GLSimViT.arch_zoo))}')
    return dict(
        type='mmpretrain.GLSimClassifier',
        backbone=dict(type='GLSimViT', arch=arch, img_size=224, patch_size=patch_size),
        neck=dict(type='GLSimSelector'),
        head=dict(type='AggregatorHead', num_classes=200, in_channels=GLSimViT.arch_zoo[arch]['embed_dims']),
    )


class Passes:
    """A model with random weights that runs cases; weights change nothing of the cost.

    Args:
        settings: Settings of a GLSimClassifier; pretrained weights are not loaded.
        device: Where to run.

    Raises:
        GLSimError: If the settings are not those of a GLSimClassifier.
    """

    def __init__(self, settings: dict, device: str = 'cpu') -> None:
        if str(settings.get('type', '')).rpartition('.')[2] != 'GLSimClassifier':
            raise GLSimError(f'the model is a {settings.get("type")}; give the config of a GLSimClassifier')
        self.device = torch.device(device)
        self.selectors = {
            name: MODELS.build(dict(type=f'mmpretrain.{type_}')) for name, type_ in SELECTOR_TYPES.items()
        }
        self.model: nn.Module = MODELS.build(dict(settings, neck=dict(type='GLSimSelector'))).to(self.device).eval()
        self.layout = self.model.layout

    @torch.no_grad()
    def shape(self) -> EncoderShape:
        """What the cost formulas need to know of the encoder, read off a pass over one small image."""
        with record_attention() as record:
            tokens = self.model.backbone(self.images(4 * max(self.layout.patch_size), 1))[-1]
        heads = record.inputs[0].queries.shape[1] if record else 1
        return EncoderShape(len(record), heads, tokens.shape[-1], self.layout.patch_size[0])

    def images(self, image_size: int, batch_size: int) -> Tensor:
        """Square images of noise, (B, 3, image_size, image_size)."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(batch_size, 3, image_size, image_size, generator=generator).to(self.device)

    @torch.no_grad()
    def run(self, case: Case, images: Tensor) -> PassResult:
        """Run one case and take its time.

        Args:
            case: What to run.
            images: (B, 3, H, W).

        Returns:
            Scores and seconds.
        """
        ways = {'fused': self._run_fused, 'published': self._run_published, 'whole model': self._run_whole_model}
        start = self._now()
        scores, encoded = ways[case.way](case.selector, images)
        end = self._now()
        return PassResult(scores, end - start, end - encoded if scores is not None else 0.0)

    def _run_fused(self, name: str, images: Tensor) -> tuple[Tensor | None, float]:
        """Scores, and when the encoder was done."""
        if name == 'none':
            self.model.backbone(images)
            return None, self._now()
        selector = self.selectors[name]
        with record_attention() if selector.needs_attention else nullcontext() as record:
            tokens = self.model.backbone(images)[-1]
        encoded = self._now()
        size = (images.shape[-2], images.shape[-1])
        grid = patch_grid(size, self.layout.patch_size)
        return selector.score_patches(SelectionInputs(tokens, self.layout, grid, size, record)), encoded

    def _run_published(self, name: str, images: Tensor) -> tuple[Tensor | None, float]:
        selection = PUBLISHED_SELECTIONS.get(name, NO_SELECTION)
        in_encoder = 0.0

        def keep(logits: Tensor, matrix: Tensor) -> Tensor | None:
            """Some authors score layer by layer, within the encoder."""
            nonlocal in_encoder
            start = self._now()
            kept = selection.keep(logits, matrix)
            in_encoder += self._now() - start
            return kept

        with unfused_attention(keep) as kept:
            self.model.backbone(images)
        encoded = self._now() - in_encoder
        return selection.score(kept, self.layout.num_extra_tokens), encoded

    def _run_whole_model(self, name: str, images: Tensor) -> tuple[None, float]:
        self.model.neck = self.selectors[name]
        self.model.head((self.model.encode(images)[0],))
        return None, self._now()

    def _now(self) -> float:
        """Seconds, after all work so far is done."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return perf_counter()
