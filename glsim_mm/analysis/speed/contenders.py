"""What is timed against what: one way of computing predictions each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...compat.linear_kernels import use_torch_linear
from ...errors import GLSimError
from ...exported.onnx_model import ExportedInfo, ExportedModel
from ...exporting.export_graph import ExportGraph
from ...exporting.file_formats import quantize, write_onnx
from ...models.classifiers import GLSimClassifier
from ...models.classifiers.crop_policy import TestOptions
from .straightforward import StraightforwardGLSim

# GLSimViT's name, timm's name, width. Patches of 16 pixels.
SIZES = {
    'vit-tiny': ('vit_tiny_patch16_224', 192),
    'vit-small': ('vit_small_patch16_224', 384),
    'vit-base': ('vit_base_patch16_224', 768),
}
PLAIN, STRAIGHTFORWARD, EAGER = 'plain', 'straightforward', 'eager'
EXACT_MODES = (EAGER, 'compiled', 'onnxruntime', 'openvino')
OPTION_MODES = ('torch-linear', 'half-crop', 'merged', 'bf16', 'int8', 'off')
MODES = EXACT_MODES + OPTION_MODES
NUM_CLASSES = 200


@dataclass(frozen=True)
class Workload:
    """What is computed.

    Attributes:
        model: ``'vit-tiny'``, ``'vit-small'`` or ``'vit-base'``.
        image_size: Side of the images in pixels.
        batch_size: Images at a time.
        device: ``'cpu'`` or a CUDA device.
        threads: Threads on the CPU. Defaults to None, as torch does.
        seed: Of weights and images.
    """

    model: str
    image_size: int
    batch_size: int
    device: str = 'cpu'
    threads: int | None = None
    seed: int = 0


def build_glsim(work: Workload, **kwargs: Any) -> GLSimClassifier:
    """GLSim with random weights, in eval mode; ``kwargs`` are arguments of the classifier or of its backbone."""
    torch.manual_seed(work.seed)
    backbone = dict(type='GLSimViT', arch=work.model, img_size=work.image_size, patch_size=16, **kwargs.pop('vit', {}))
    head = dict(type='AggregatorHead', num_classes=NUM_CLASSES, in_channels=SIZES[work.model][1])
    # Images are made normalised, in the order that the model takes.
    settings = dict(type='GLSimClassifier', backbone=backbone, head=head, data_preprocessor=dict(to_rgb=True), **kwargs)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(settings).to(work.device).eval()


def build_plain(work: Workload, **kwargs: Any) -> nn.Module:
    """timm's ViT of the same size with a linear classifier, random weights, in eval mode."""
    import timm

    torch.manual_seed(work.seed)
    name = SIZES[work.model][0]
    model = timm.create_model(name, img_size=work.image_size, num_classes=NUM_CLASSES, **kwargs)
    return model.to(work.device).eval()


def make_images(work: Workload) -> Tensor:
    """Normalised images whose patches differ, so that regions do too, (B, 3, S, S)."""
    generator = torch.Generator().manual_seed(work.seed)
    coarse = torch.rand(work.batch_size, 3, work.image_size // 32, work.image_size // 32, generator=generator)
    fine = nn.functional.interpolate(coarse, (work.image_size, work.image_size), mode='bilinear')
    return (4 * fine - 2).to(work.device)


def make_contender(mode: str, work: Workload, folder: Path) -> Callable[[], Any]:
    """A function that computes the logits of one batch.

    Args:
        mode: ``'plain'`` (one pass of timm's ViT), ``'straightforward'``, or one of :data:`MODES`.
        work: What to compute.
        folder: For exported files.

    Returns:
        Without arguments; the first call may compile.

    Raises:
        GLSimError: If the mode is unknown, or a package is missing.
    """
    images = make_images(work)
    if mode == PLAIN:
        return _without_gradient(build_plain(work), images)
    if mode == STRAIGHTFORWARD:
        return _without_gradient(StraightforwardGLSim(build_glsim(work)), images)
    if mode == 'half-crop':
        neck = dict(type='GLSimSelector', crop_size=work.image_size // 2)
        return _without_gradient(build_glsim(work, neck=neck), images)
    if mode == 'merged':
        return _without_gradient(build_glsim(work, vit=dict(merged_tokens=merged_tokens(work.image_size))), images)
    if mode == 'off':
        return _without_gradient(build_glsim(work, test_cfg=dict(crop='off')), images)
    model = build_glsim(work)
    if mode == 'torch-linear':
        use_torch_linear(model)
    if mode in (EAGER, 'torch-linear'):
        return _without_gradient(model, images)
    if mode == 'bf16':
        model.test_options = TestOptions(amp='bf16')
        return partial(_run_in_bf16, model, images)
    if mode == 'compiled':
        return _without_gradient(torch.compile(model, fullgraph=True), images)
    if mode in ('onnxruntime', 'openvino', 'int8'):
        return _exported(mode, model, work, images, folder)
    raise GLSimError(f'there is no mode {mode!r}; choose from {", ".join(MODES)}')


def merged_tokens(image_size: int) -> int:
    """Pairs per layer after which about a quarter of the tokens is left in the 12th: 1/16 of the patches."""
    return max(1, (image_size // 16) ** 2 // 16)


def _without_gradient(model: Callable[[Tensor], Tensor], images: Tensor) -> Callable[[], Tensor]:
    @torch.no_grad()
    def run() -> Tensor:
        return model(images)

    return run


@torch.no_grad()
def _run_in_bf16(model: nn.Module, images: Tensor) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16):
        return model(images)


def _exported(
    mode: str, model: GLSimClassifier, work: Workload, images: Tensor, folder: Path
) -> Callable[[], dict[str, np.ndarray]]:
    path = folder / f'{mode}_{work.model}_{work.image_size}.onnx'
    graph = ExportGraph(model).eval()
    info = ExportedInfo(mode, (work.image_size, work.image_size), [], list(graph.outputs), [])
    write_onnx(graph, images[:1].expand(2, -1, -1, -1).cpu(), info, path)
    if mode == 'int8':
        quantize(path, info)
    backend = 'openvino' if mode == 'openvino' else 'onnxruntime'
    device = 'cuda' if work.device.startswith('cuda') and backend == 'onnxruntime' else 'cpu'
    exported = ExportedModel(path, backend, device, work.threads)
    return partial(exported, images.cpu().numpy())
