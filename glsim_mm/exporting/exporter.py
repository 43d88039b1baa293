"""From config and checkpoint to a file that runs without them."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from retrieval.gallery import Fingerprint, open_gallery
from retrieval.gallery.contract import check_model
from retrieval.gallery.spaces import Spaces

from ..apis.exported_steps import find_image_size, translate_steps
from ..apis.model import load_model, load_pretrained
from ..apis.options import load_config
from ..apis.photo_pipeline import find_background, find_test_steps
from ..errors import GLSimError
from ..exported.onnx_model import ExportedInfo
from ..output_files import check_output_file
from ..search.adding import model_of
from ..search.base_encoder import CENTRE, GLOBAL
from ..search.embedder import Embedder
from ..search.pretrained_encoder import frozen_config
from ..search.pretrained_settings import FrozenSettings
from .export_graph import ExportGraph, MetricLayer
from .file_formats import package_versions, quantize, run_onnx, run_program, write_onnx, write_program

TOLERANCE = 1e-4  # what tests of parity with the authors' code allow, too
KINDS = ('classifier', 'embedding')


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: The file.
        size: Its bytes.
        info: What it says about itself.
        difference: Largest absolute difference of each output from PyTorch's, on random images.
    """

    path: Path
    size: int
    info: ExportedInfo
    difference: dict[str, float]


def export_model(
    cfg: Config,
    checkpoint: str | None,
    path: str | Path,
    what: str = 'classifier',
    int8: bool = False,
    overwrite: bool = False,
    metric_of: str | Path | None = None,
    centre: bool = False,
    made: str | Path | None = None,
) -> ExportReport:
    """Write a model to a file and check that it computes the same.

    ::

        report = export_model(load_config('configs/my.py'), 'epoch_50.pth', 'model.onnx')
        print(format_report(report))

    Args:
        cfg: Config of a classifier: :class:`GLSimClassifier`, or mmpretrain's with a ViT.
        checkpoint: Path or URL of its weights; None for a pretrained encoder, whose config names them.
        path: ``.onnx`` for ONNX, ``.pt2`` for a program of ``torch.export``.
        what: ``'classifier'``, or ``'embedding'`` for search alone, without logits.
        int8: Weights of 8 bits, quantised per channel; activations are quantised while the model runs. ONNX only, and
            no longer exact.
        overwrite: Replace an existing file.
        metric_of: Gallery of the model whose learned metric goes into the file, as the output ``'metric'``: embeddings
            as its default space compares them. A search in the gallery itself does without, because the gallery
            applies its metric to queries.
        centre: Embed the centre of the image too, for galleries with the space ``'centre'``; a metric that needs it
            brings it along.
        made: A gallery that this model must have made.

    Raises:
        UserError: If the model cannot be exported or is not that of the gallery, the file exists, a package is missing,
            or the file computes something else than PyTorch.
    """
    path = Path(path)
    _check_arguments(path, what, int8, overwrite)
    model = load_pretrained(cfg, 'cpu') if checkpoint is None else load_model(cfg, str(checkpoint), 'cpu').eval()
    source = cfg.model.backbone.checkpoint_path if checkpoint is None else str(checkpoint)
    steps = translate_steps(find_test_steps(cfg))
    fingerprint = Embedder(model).fingerprint(cfg, source)
    if made is not None:
        with open_gallery(made) as gallery:
            check_model(made, gallery.manifest, fingerprint)
    metric = None if metric_of is None else _metric_layer(metric_of, fingerprint)
    graph = ExportGraph(model, what == 'classifier', metric, centre).eval()
    info = _describe(cfg, model, graph, find_image_size(steps), steps, fingerprint)
    example = _random_images(2, info.image_size)
    is_onnx = path.suffix == '.onnx'
    path.resolve().parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.resolve().parent, prefix=f'.{path.name}.') as folder:
        written = Path(folder) / path.name
        if is_onnx:
            write_onnx(graph, example, info, written)
        else:
            write_program(graph, example, info, written)
        run = run_onnx(written) if is_onnx else run_program(written, graph.outputs)
        difference = _compare(graph, run, info.image_size)
        for name, value in difference.items():
            if not value <= TOLERANCE:
                raise GLSimError(
                    f'the exported {name} differ from PyTorch by {value:.2g}, more than {TOLERANCE}; nothing was '
                    'written'
                )
        if int8:
            info = replace(info, is_quantized=True)
            quantize(written, info)
            difference = _compare(graph, run_onnx(written), info.image_size)
        os.replace(written, path)
    return ExportReport(path, path.stat().st_size, info, difference)


def export_gallery_model(
    location: str | Path, path: str | Path, what: str = 'embedding', **options: Any
) -> ExportReport:
    """Write the model that made a gallery, be it of a config or a pretrained encoder, with all that the gallery keeps.

    ::

        export_gallery_model('gallery', 'model.onnx')
        search = ImageSearch.open('gallery', checkpoint='model.onnx')  # without torch

    Args:
        location: Of the gallery, which says where its model lies.
        path: As for :func:`export_model`, as are the others.
        what: ``'embedding'``, which is all that the gallery needs, or ``'classifier'``.
        **options: ``int8``, ``overwrite``, ``metric_of``.

    Raises:
        UserError: As :func:`export_model`; also if the gallery does not say which model made it.
    """
    with open_gallery(location) as gallery:
        model = model_of(gallery)
        options['centre'] = CENTRE in Spaces.of(gallery).given
    if isinstance(model, FrozenSettings):
        return export_model(frozen_config(model), None, path, what, made=location, **options)
    config, checkpoint = model
    if config is None:
        raise GLSimError(f'{location} was made with {checkpoint}, which is exported already')
    return export_model(load_config(config), str(checkpoint), path, what, made=location, **options)


def format_report(report: ExportReport) -> str:
    """Size, input and outputs of an exported file, and how far they are from PyTorch's, in lines of 80 columns."""
    info = report.info
    height, width = info.image_size
    lines = [
        f'{report.path}: {report.size / 2**20:.1f} MiB',
        f'input   pixels (batch, 3, {height}, {width}), RGB, 0 to 255',
        *(f'output  {name:<15} largest difference from PyTorch {report.difference[name]:.1e}' for name in info.outputs),
    ]
    if info.is_quantized:
        lines.append('Weights of 8 bits are not exact: measure the accuracy on your own test set.')
    return '\n'.join(lines)


def _check_arguments(path: Path, what: str, int8: bool, overwrite: bool) -> None:
    if what not in KINDS:
        raise GLSimError(f'what must be one of {", ".join(KINDS)}, got {what!r}')
    if path.suffix not in ('.onnx', '.pt2'):
        raise GLSimError(f'{path} must end in .onnx, or in .pt2 for torch.export')
    if int8 and path.suffix != '.onnx':
        raise GLSimError('8-bit weights are written to .onnx files only')
    if path.exists() and not overwrite:
        raise GLSimError(f'{path} exists: give another name, or --overwrite')
    check_output_file(path)


def _metric_layer(location: str | Path, fingerprint: Fingerprint) -> MetricLayer:
    """The metric of a gallery's default space; a UserError unless it has one, and this model made it."""
    with open_gallery(location, expect=fingerprint) as gallery:
        spaces = Spaces.of(gallery)
        name = spaces.space(None)
        sources = spaces.sources(name)
        if sources == (name,):
            raise GLSimError(f'{location} searches by {name}, which is no learned metric: learn one with glsim metric')
        transform = spaces.transforms[name]
        own = {one: spaces.transforms[one] for one in sources if one in spaces.transforms}
        about = dict(space=name, source=transform.source, fingerprint=transform.fingerprint)
        return MetricLayer(sources, transform, own, spaces.metric == 'cosine', about)


def _describe(
    cfg: Config,
    model: torch.nn.Module,
    graph: ExportGraph,
    size: tuple[int, int],
    steps: list[dict],
    fingerprint: Fingerprint,
) -> ExportedInfo:
    embedder = Embedder(model)
    uses_crops = graph.has_regions and model.test_options.crop != 'off'
    return ExportedInfo(
        description=embedder.description,
        image_size=size,
        steps=steps,
        outputs=list(graph.outputs),
        spaces=[
            space
            for space in embedder.spaces
            if space in graph.outputs or (space != CENTRE and (uses_crops or space == GLOBAL))
        ],
        classes=[str(one) for one in getattr(model, '_dataset_meta', {}).get('classes') or ()],
        fingerprint=asdict(fingerprint),
        versions=package_versions(),
        background=find_background(cfg),
        metric={} if graph.metric is None else graph.metric.about,
    )


def _random_images(count: int, size: tuple[int, int]) -> Tensor:
    """Pixel values whose patches differ, so that the selected boxes do too."""
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, 3, -(-size[0] // 16), -(-size[1] // 16), generator=generator)
    return torch.nn.functional.interpolate(coarse, size, mode='bilinear') * 255


@torch.no_grad()
def _compare(graph: ExportGraph, run: Callable[[Tensor], dict[str, Tensor]], size: tuple[int, int]) -> dict[str, float]:
    """Largest absolute differences at two batch sizes other than the one that the file was made with."""
    found: dict[str, float] = {}
    for count in (1, 3):
        images = _random_images(count, size)
        got = run(images)
        for name, wanted in zip(graph.outputs, graph(images)):
            found[name] = max(found.get(name, 0.0), _largest_difference(name, wanted, got[name]))
    return found


def _largest_difference(name: str, wanted: Tensor, got: Tensor) -> float:
    """Between two outputs; patches of scores that are all but equal may change their order."""
    if name == 'patch_places':
        wanted, got = wanted.sort(dim=1).values, got.sort(dim=1).values
    if name == 'patches':
        got = torch.stack([one[torch.cdist(other, one).argmin(1)] for one, other in zip(got, wanted)])
    return float((wanted - got).abs().max())
