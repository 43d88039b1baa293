"""The passes whose cost is compared: a plain encoder pass, and the same with each way of selecting regions.

Selectors that read attention run in two ways. Ours gets scores from fused attention and row vectors; the published one
is as the authors' code does it, with unfused attention, whole matrices and their whole products.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import GLSimError
from ..models import GLSimViT, SelectionInputs, record_attention
from ..models.necks import build_selector
from ..models.utils.attention_record import read_arguments
from ..ops import patch_grid
from ..selectors import SELECTORS, EncoderShape, check_selectors
from .measuring import MeasuringProcesses, Spread, cuda_peak, resident_growth, waits_for

MEASURED = tuple(name for name, row in SELECTORS.items() if row.reads != 'boxes' and name not in ('gls-l1', 'gls-l2'))
"""Selectors to compare: variants of one similarity cost the same, and boxes are not there."""


class Case(NamedTuple):
    """One pass to measure.

    Attributes:
        selector: A name of :data:`MEASURED`, or ``'none'``.
        way: ``'fused'``: fused attention, whose queries and keys are recorded where the selector needs them;
            ``'published'``: unfused attention and whole matrices, as the selector's authors do it; ``'whole model'``:
            fused, and crop, crop pass and head too.
    """

    selector: str
    way: str


class PassResult(NamedTuple):
    """Scores, float32 (B, N) or None, and the seconds that one pass took, in all and for scoring the patches."""

    scores: Tensor | None
    total: float
    scoring: float


PLAIN = Case('none', 'fused')


def list_cases(selectors: Sequence[str] | None = None) -> list[Case]:
    """The passes to measure, of :data:`MEASURED` or some of them.

    They are a plain encoder pass, each selector fused and, where it reads attention, as published, and the whole model
    with GLS.
    """
    names = MEASURED if selectors is None else tuple(dict.fromkeys(selectors))
    check_selectors(names, MEASURED)
    cases = [PLAIN, Case('none', 'published')]
    for name in names:
        cases.append(Case(name, 'fused'))
        if name in PUBLISHED_SELECTIONS:
            cases.append(Case(name, 'published'))
    return cases + [Case(name, 'whole model') for name in names if name == 'gls']


def vit_settings(arch: str, patch_size: int = 16) -> dict:
    """Settings of a GLSimClassifier on a plain ViT for 224 px; ``arch`` is a name of ``GLSimViT.arch_zoo``."""
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

    Settings are those of a GLSimClassifier; pretrained weights are not loaded.

    Example::

        passes = Passes(vit_settings('vit-tiny'))
        passes.run(Case('gls', 'fused'), passes.images(224, 1)).total  # seconds
    """

    def __init__(self, settings: dict, device: str = 'cpu') -> None:
        if str(settings.get('type', '')).rpartition('.')[2] != 'GLSimClassifier':
            raise GLSimError(f'the model is a {settings.get("type")}; give the config of a GLSimClassifier')
        self.settings = settings
        self.device = torch.device(device)
        self._wait = waits_for(device)
        self.selectors = {name: build_selector(name) for name in MEASURED}
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
        """Run one case on images (B, 3, H, W) and take its time."""
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

        with UnfusedAttention(keep) as attention:
            self.model.backbone(images)
        encoded = self._now() - in_encoder
        return selection.score(attention.kept, self.layout.num_extra_tokens), encoded

    def _run_whole_model(self, name: str, images: Tensor) -> tuple[None, float]:
        self.model.neck = self.selectors[name]
        self.model.head((self.model.encode(images)[0],))
        return None, self._now()

    def _now(self) -> float:
        """Seconds, after all work so far is done."""
        self._wait()
        return perf_counter()


class PublishedSelection(NamedTuple):
    """A selector as its authors compute it.

    Attributes:
        keep: Makes of one layer's logits and attention weights, each (B, heads, S, S), what is kept of them.
        score: Makes of what was kept of all layers, and the number of tokens before the patches, scores (B, N).
    """

    keep: Callable[[Tensor, Tensor], Tensor | None]
    score: Callable[[list[Tensor], int], Tensor | None]


class UnfusedAttention(TorchFunctionMode):
    """Computes every ``scaled_dot_product_attention`` in the block by way of its matrix.

    ``keep`` gets logits and attention weights of each layer, (B, heads, S, S); what it returns is in ``kept``.
    """

    def __init__(self, keep: Callable[[Tensor, Tensor], Tensor | None]) -> None:
        super().__init__()
        self.keep = keep
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        inputs = read_arguments(*args, **kwargs)
        logits = inputs.queries @ inputs.keys.transpose(-2, -1) * inputs.scale
        if inputs.bias is not None:
            logits = logits + inputs.bias
        matrix = logits.softmax(dim=-1)
        kept = self.keep(logits, matrix)
        if kept is not None:
            self.kept.append(kept)
        return matrix @ args[2]


def _keep_mutual_attention(logits: Tensor, matrix: Tensor) -> Tensor:
    """FFVT's order of work: both softmaxes of the whole matrix, one row and one column of them are read."""
    column = logits.softmax(dim=-2)[..., 0].mean(dim=1)
    return column * matrix[:, :, 0].mean(dim=1)


def _score_rollout(matrices: list[Tensor], num_extra_tokens: int) -> Tensor:
    identity = torch.eye(matrices[0].shape[-1], device=matrices[0].device)
    joint = identity
    for index, matrix in enumerate(matrices):
        attention = matrix.mean(dim=1) + identity
        attention = attention / attention.sum(dim=-1, keepdim=True)
        joint = attention if index == 0 else attention @ joint
    return joint[:, 0, num_extra_tokens:]


def _score_psm(matrices: list[Tensor], num_extra_tokens: int) -> Tensor:
    joint = matrices[0]
    for matrix in matrices[1:]:
        joint = matrix @ joint
    return joint[:, :, 0, num_extra_tokens:].sum(dim=1)


def _last_layer(kept: list[Tensor], num_extra_tokens: int) -> Tensor:
    return kept[-1][:, num_extra_tokens:]


PUBLISHED_SELECTIONS = {
    'class-attention': PublishedSelection(lambda logits, matrix: matrix[:, :, 0].mean(dim=1), _last_layer),
    'maws': PublishedSelection(_keep_mutual_attention, _last_layer),
    'rollout': PublishedSelection(lambda logits, matrix: matrix, _score_rollout),
    'psm': PublishedSelection(lambda logits, matrix: matrix, _score_psm),
}
NO_SELECTION = PublishedSelection(lambda logits, matrix: None, lambda kept, num_extra_tokens: None)
"""Unfused attention alone."""


class MemoryUse(NamedTuple):
    """Memory of one pass beyond model and images.

    Attributes:
        peak_bytes: Largest allocation at any time; on CPU the growth of the process's largest resident set.
        num_matrices: Largest number of S x S attention matrices alive at the same time, per image; every head of every
            layer has one.
    """

    peak_bytes: int
    num_matrices: int


def measure_memory(
    case: Case, image_size: int, batch_size: int, passes: Passes, threads: int, processes: MeasuringProcesses | None
) -> MemoryUse | None:
    """Peak memory of one pass over square images, None if it did not suffice; on CPU in a process of its own."""
    if processes is not None:
        return processes.call(_measure_in_process, case, image_size, batch_size, passes.settings, threads)
    pixels = passes.images(image_size, batch_size)
    try:
        peak = cuda_peak(lambda: passes.run(case, pixels), passes.device)
        return MemoryUse(peak, _count_matrices(passes, case, pixels))
    except torch.cuda.OutOfMemoryError:
        return None


def _measure_in_process(case: Case, image_size: int, batch_size: int, settings: dict, threads: int) -> MemoryUse:
    torch.set_num_threads(threads)
    passes = Passes(settings)
    # Thread pools and kernels' caches are made by a first pass and belong to no case.
    passes.run(case, passes.images(2 * max(passes.layout.patch_size), 1))
    pixels = passes.images(image_size, batch_size)
    return MemoryUse(resident_growth(lambda: passes.run(case, pixels)), _count_matrices(passes, case, pixels))


def _count_matrices(passes: Passes, case: Case, images: Tensor) -> int:
    height, width = images.shape[-2:]
    rows, cols = (-(-side // patch) for side, patch in zip((height, width), passes.layout.patch_size))
    with LiveMatrices(passes.layout.num_extra_tokens + rows * cols) as matrices:
        passes.run(case, images)
    return -(-matrices.most_numbers // (images.shape[0] * matrices.side**2))


class LiveMatrices(TorchDispatchMode):
    """Watches how many numbers the S x S tensors hold that are alive at the same time, S being ``side``."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.most_numbers = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple | list) else (outputs,):
            if isinstance(output, Tensor) and output.shape[-2:] == (self.side, self.side):
                reference = StorageWeakRef(output.untyped_storage())
                self._alive[reference.cdata] = reference, output.untyped_storage().nbytes() // output.element_size()
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.most_numbers = max(self.most_numbers, sum(numbers for _, numbers in self._alive.values()))
        return outputs


class CostRow(NamedTuple):
    """Cost of one pass at one image and batch size; None where memory did not suffice or there is no such number.

    Attributes:
        num_tokens: Tokens S per image.
        seconds: Wall time of the pass, median, least and most.
        ratio: The same over the plain encoder pass that ran directly before it.
        scoring_ms: Time of scoring the patches alone.
        published_mflops: The paper's count, per image.
        published_percent: That, in percent of its count of the encoder.
        needed_mflops: This package's count for its own way, per image.
        needed_percent: That, in percent of the encoder's FLOPs.
    """

    image_size: int
    batch_size: int
    num_tokens: int
    case: Case
    seconds: Spread | None
    ratio: Spread | None
    scoring_ms: Spread | None
    memory: MemoryUse | None
    published_mflops: float | None
    published_percent: float | None
    needed_mflops: float | None
    needed_percent: float | None
