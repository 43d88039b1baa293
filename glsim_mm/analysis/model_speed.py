"""Speed and memory of predictions and training steps: GLSim against one plain pass and the straightforward two.

All ways of computing take turns in one process on the same inputs. Weights are random.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..compat.linear_kernels import use_torch_linear
from ..exported.onnx_model import ExportedInfo, ExportedModel
from ..exporting.export_graph import ExportGraph
from ..exporting.file_formats import package_versions, quantize, write_onnx
from ..models.classifiers import GLSimClassifier
from ..models.utils.mlp_buffers import keep_mlp_buffers
from ..models.utils.partial_blocks import split_block
from ..ops import global_local_similarity, patch_grid, top_patches
from ..output_files import write_file, write_json
from .measuring import (
    EAGER,
    PLAIN,
    SIZES,
    STRAIGHTFORWARD,
    MeasuringProcesses,
    Spread,
    check_workloads,
    cuda_peak,
    markdown_table,
    resident_growth,
    spread,
    time_in_turns,
    times_as_fast,
)

TRAINING_MODES = (PLAIN, STRAIGHTFORWARD, 'glsim', 'checkpointing', 'bf16', 'frozen')
NUM_CLASSES = 200
# What they compute on top of eager mode is another program of the same numbers.
_SAME_FLOPS = ('torch-linear', 'compiled', 'onnxruntime', 'openvino', 'int8', 'bf16')


@dataclass(frozen=True)
class Workload:
    """What is computed; sizes of images are sides in pixels, ``threads=None`` leaves torch's number.

    Example::

        make_contender('eager', Workload('vit-tiny', 224, 8), folder)()  # logits (8, 200)
    """

    model: str
    image_size: int
    batch_size: int
    device: str = 'cpu'
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class SpeedRow:
    """One way of computing one workload, or of doing a training step of forward, backward and AdamW.

    Attributes:
        mode: ``'plain'`` is one pass of timm's ViT, ``'straightforward'`` the paper's two, the others GLSim here.
        seconds: Time of a batch.
        vs_plain: Times as fast as ``'plain'``, round by round; the next compares with ``'straightforward'``.
        memory_mib: Peak memory of a batch beyond weights and images, or growth in the first step, gradients and the
            optimiser's state among it; None if not measured.
    """

    mode: str
    model: str
    image_size: int
    batch_size: int
    seconds: Spread
    vs_plain: Spread
    vs_straightforward: Spread
    memory_mib: float | None


@dataclass(frozen=True)
class InferenceRow(SpeedRow):
    """What predictions have beside it.

    Attributes:
        p50: Median latency of a batch in milliseconds.
        p99: 99th percentile of it; of few rounds nearly the longest.
        images_per_second: At the median.
        vs_eager: Times as fast as ``'eager'``, round by round.
        gflops: Per image, 10^9 FLOPs.
        peak_share: Achieved FLOP/s as a share of what float32 matrix products reach here.
    """

    p50: float
    p99: float
    images_per_second: float
    vs_eager: Spread
    gflops: float
    peak_share: float


def run_inference(
    works: Sequence[Workload],
    modes: Sequence[str],
    rounds: int,
    memory: bool,
    out: Path | None,
    tell: Callable[[str], Any],
) -> list[InferenceRow]:
    """Measure predictions; tell each workload's table, and write all results so far after each, so that none is lost.

    All workloads are on one device. ``'plain'``, ``'straightforward'`` and ``'eager'`` always take part. Peak memory is
    measured in a process per contender; ``results.md`` and ``results.json`` go to ``out``.
    """
    _check(works, modes)
    rows: list[InferenceRow] = []
    for work, found in zip(works, _measure_inference(works, modes, rounds, memory)):
        rows += found
        share = selection_share(work, rounds)
        tell(_inference_table(found))
        tell(f'Selecting and cropping: {100 * share.median:.2f} % of the eager forward pass.\n')
        write_results(out, _inference_table(rows), rows)
    return rows


def run_training(
    works: Sequence[Workload], rounds: int, memory: bool, out: Path | None, tell: Callable[[str], Any]
) -> None:
    """Measure training steps of all :data:`TRAINING_MODES`; see :func:`run_inference`."""
    _check(works)
    rows: list[SpeedRow] = []
    for found in _measure_training(works, rounds, memory):
        rows += found
        tell(_training_table(found))
        write_results(out, _training_table(rows), rows)


def write_results(folder: Path | None, table: str, rows: Sequence[Any]) -> None:
    """Write a table, and rows (dataclasses) with the machine that gave them, into a folder if there is one."""
    if folder is not None:
        write_file(folder / 'results.md', table + '\n')
        content = dict(machine=_describe_machine(), rows=[_plain(asdict(row)) for row in rows])
        write_json(folder / 'results.json', content, indent=2)


def _check(works: Sequence[Workload], modes: Sequence[str] = ()) -> None:
    models, sizes, batches = zip(*((work.model, work.image_size, work.batch_size) for work in works))
    check_workloads(models, sizes, batches, modes)


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
    import timm  # slow to import, and only wanted where this function is called

    torch.manual_seed(work.seed)
    name = SIZES[work.model][0]
    model = timm.create_model(name, img_size=work.image_size, num_classes=NUM_CLASSES, **kwargs)
    return model.to(work.device).eval()


def make_images(work: Workload) -> Tensor:
    """Normalised images whose patches differ, so that regions do too, (B, 3, S, S)."""
    generator = torch.Generator().manual_seed(work.seed)
    coarse = torch.rand(work.batch_size, 3, work.image_size // 32, work.image_size // 32, generator=generator)
    fine = F.interpolate(coarse, (work.image_size, work.image_size), mode='bilinear')
    return (4 * fine - 2).to(work.device)


def make_contender(mode: str, work: Workload, folder: Path) -> Callable[[], Any]:
    """A function without arguments that computes the logits of one batch; its first call may compile.

    ``mode`` is ``'plain'``, one pass of timm's ViT, ``'straightforward'``, or one of ``measuring.MODES``; exported
    files go to the folder.
    """
    images = make_images(work)
    if mode in ('onnxruntime', 'openvino', 'int8'):
        return _exported(mode, build_glsim(work), work, images, folder)
    return partial(_predict, _build(mode, work), images, mode == 'bf16')


def _build(mode: str, work: Workload) -> Callable[[Tensor], Tensor]:
    if mode == PLAIN:
        return build_plain(work)
    options: dict[str, dict] = {
        'bf16': dict(test_cfg=dict(amp='bf16')),
        'half-crop': dict(neck=dict(type='GLSimSelector', crop_size=work.image_size // 2)),
        # Pairs per layer after which about a quarter of the tokens is left in the 12th: 1/16 of the patches.
        'merged': dict(vit=dict(merged_tokens=max(1, (work.image_size // 16) ** 2 // 16))),
        'off': dict(test_cfg=dict(crop='off')),
    }
    model = build_glsim(work, **options.get(mode, {}))
    if mode == STRAIGHTFORWARD:
        return StraightforwardGLSim(model)
    if mode == 'compiled':
        return torch.compile(model, fullgraph=True)
    if mode == 'torch-linear':
        use_torch_linear(model)
    return model


@torch.no_grad()
def _predict(model: Callable[[Tensor], Tensor], images: Tensor, in_bf16: bool) -> Tensor:
    with _precision(images, in_bf16):
        return model(images)


def _precision(images: Tensor, in_bf16: bool) -> Any:
    return torch.autocast(images.device.type, torch.bfloat16) if in_bf16 else nullcontext()


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


class StraightforwardGLSim(nn.Module):
    """The two passes as the paper describes them and its authors' code runs them, for comparison.

    Attention makes its S x S matrices, every block computes all tokens, boxes are read into Python and images are
    cropped one by one (arXiv 2407.12891, section 3; github.com/arkel23/GLSim). It shares all weights with a model of
    ``GLSimViT``, ``GLSimSelector`` (cosine) and ``AggregatorHead``, whose linear layers go back to torch's own library
    and whose MLPs go back to new memory for every tensor.
    """

    def __init__(self, model: GLSimClassifier) -> None:
        super().__init__()
        self.model = model
        use_torch_linear(model)
        keep_mlp_buffers(model)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, 3, H, W)."""
        tokens = self._encode(images)
        crops = self._crop(images, tokens)
        sequence = torch.stack([tokens[:, 0], self._encode(crops)[:, 0]], dim=1)
        head = self.model.head
        for layer in head.layers:
            sequence = _run_block(layer, sequence)
        return head.fc(head.norm(sequence)[:, 0])

    def _encode(self, images: Tensor) -> Tensor:
        backbone = self.model.backbone
        x, _ = backbone._embed(images, backbone.cls_token)
        for layer in backbone.layers:
            x = _run_block(layer, x)
        return backbone.ln1(x)

    @torch.no_grad()
    def _crop(self, images: Tensor, tokens: Tensor) -> Tensor:
        neck, (patch, _) = self.model.neck, self.model.layout.patch_size
        size = (images.shape[-2], images.shape[-1])
        _, columns = patch_grid(size, self.model.layout.patch_size)
        chosen = top_patches(global_local_similarity(tokens[:, 0], tokens[:, 1:]), neck.top_o)
        crops = []
        for image, indices in zip(images, chosen):
            rows, cols = indices // columns, indices % columns
            y0, x0 = int(rows.min()) * patch, int(cols.min()) * patch
            y1, x1 = max(int(rows.max()) * patch, y0 + patch), max(int(cols.max()) * patch, x0 + patch)
            region = image[None, :, y0:y1, x0:x1]
            crops.append(F.interpolate(region, size, mode='bilinear', align_corners=True))
        return torch.cat(crops)


def _run_block(block: nn.Module, x: Tensor) -> Tensor:
    """A block whose attention makes its matrix (B, heads, S, S)."""
    parts = split_block(block)
    if parts is None:
        raise ValueError(f'{type(block).__name__} is not a plain ViT block')
    qkv = parts.qkv(parts.norm(x)).unflatten(2, (3, parts.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1)
    branch = (weights @ value).transpose(1, 2).flatten(2)
    for module in parts.project:
        branch = module(branch)
    return parts.add_mlp(x + parts.drop_path(branch))


def _measure_inference(
    works: Sequence[Workload], modes: Sequence[str], rounds: int, memory: bool
) -> Iterator[list[InferenceRow]]:
    names = [PLAIN, STRAIGHTFORWARD, EAGER, *(mode for mode in modes if mode != EAGER)]
    device = works[0].device
    use_threads(works[0])
    peak = measure_matmul_peak(device, min(rounds, 5))
    with TemporaryDirectory() as folder, MeasuringProcesses() as processes:
        make = partial(make_contender, folder=Path(folder))
        for work in works:
            used = {name: measure_memory(name, work, make, processes) for name in names} if memory else {}
            contenders = {name: make(name, work) for name in names}
            times = time_in_turns(contenders, rounds, device)
            counted = {name: count_flops(contenders[name]) for name in names if name not in _SAME_FLOPS}
            rows = []
            for name in names:
                flops = counted.get(name, counted[EAGER]) / work.batch_size
                common = _common(name, work, times, used)
                speed = work.batch_size / common['seconds'].median
                row = InferenceRow(
                    **common,
                    p50=1e3 * common['seconds'].median,
                    p99=1e3 * float(np.quantile(times[name], 0.99)),
                    images_per_second=speed,
                    vs_eager=times_as_fast(times[name], times[EAGER]),
                    gflops=flops / 1e9,
                    peak_share=flops * speed / peak,
                )
                rows.append(row)
            yield rows
            torch._dynamo.reset()  # each workload is compiled for its own shapes


def _common(name: str, work: Workload, times: dict[str, list[float]], used: dict[str, float | None]) -> dict[str, Any]:
    """Fields of a :class:`SpeedRow`."""
    return dict(
        mode=name,
        model=work.model,
        image_size=work.image_size,
        batch_size=work.batch_size,
        seconds=spread(times[name]),
        vs_plain=times_as_fast(times[name], times[PLAIN]),
        vs_straightforward=times_as_fast(times[name], times[STRAIGHTFORWARD]),
        memory_mib=used.get(name),
    )


def use_threads(work: Workload) -> None:
    """Let torch compute with the threads of a workload from here on."""
    if work.threads is not None:
        torch.set_num_threads(work.threads)


def selection_share(work: Workload, rounds: int = 7) -> Spread:
    """Share of the forward pass, 0 to 1, that selecting and cropping takes, round by round."""
    model, images = build_glsim(work), make_images(work)
    with torch.no_grad():
        tokens = model.backbone(images)[-1]
        parts = {
            'selection': lambda: model.neck(tokens, images, model.layout),
            'forward': lambda: model(images, mode='tensor'),
        }
        times = time_in_turns(parts, rounds, work.device)
    return spread([part / whole for part, whole in zip(times['selection'], times['forward'])])


def measure_memory(
    mode: str, work: Workload, make: Callable[[str, Workload], Callable[[], Any]], processes: MeasuringProcesses
) -> float | None:
    """Peak memory of one call of what ``make`` makes, in MiB, beyond what making it took; None if it did not suffice.

    ``make`` is :func:`make_step`, or :func:`make_contender` with a folder.
    """
    if work.device.startswith('cuda'):
        return cuda_peak(make(mode, work), work.device) / 2**20
    return processes.call(_growth, mode, work, make)


def _growth(mode: str, work: Workload, make: Callable[[str, Workload], Callable[[], Any]]) -> float:
    use_threads(work)
    is_step = make is make_step
    # Thread pools and kernels' caches are made by a first pass and belong to no contender.
    make(mode if is_step else EAGER, replace(work, model='vit-tiny', image_size=32, batch_size=1))()
    run = make(mode, work)
    if not is_step and mode not in (PLAIN, STRAIGHTFORWARD, EAGER):
        run()  # compiles, or lets a session find its buffers, which it keeps
    return resident_growth(run) / 2**20


def _measure_training(works: Sequence[Workload], rounds: int, memory: bool) -> Iterator[list[SpeedRow]]:
    use_threads(works[0])
    with MeasuringProcesses() as processes:
        for work in works:
            names = TRAINING_MODES
            used = {name: measure_memory(name, work, make_step, processes) for name in names} if memory else {}
            times = time_in_turns({name: make_step(name, work) for name in names}, rounds, work.device)
            yield [SpeedRow(**_common(name, work, times, used)) for name in names]


def make_step(name: str, work: Workload) -> Callable[[], None]:
    """A function without arguments that does one training step on random labels; ``name`` is of TRAINING_MODES."""
    model: nn.Module
    if name == PLAIN:
        model = build_plain(work)
    elif name == STRAIGHTFORWARD:
        model = StraightforwardGLSim(build_glsim(work))
    elif name == 'frozen':
        layers = len(build_glsim(replace(work, image_size=32)).backbone.layers)
        model = build_glsim(work, vit=dict(frozen_stages=layers - 1))
    else:
        model = build_glsim(work, vit=dict(with_cp=name == 'checkpointing'))
    images = make_images(work)
    labels = torch.arange(work.batch_size, device=work.device) % NUM_CLASSES
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-5)
    return partial(_step, model.train(), optimizer, images, labels, name == 'bf16')


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, in_bf16: bool) -> None:
    with _precision(images, in_bf16):
        loss = F.cross_entropy(model(images).float(), labels, label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def count_flops(function: Callable[[], Any]) -> int:
    """FLOPs of the matrix products, convolutions and attention of one call, a multiply-add counting as two.

    The call runs without fused attention, which the counter does not know on every device; the number is the same.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def measure_matmul_peak(device: str = 'cpu', rounds: int = 5) -> float:
    """The most FLOP/s that float32 matrix products reach here, a multiply-add counting as two."""
    best = 0.0
    for side in (512, 1024, 2048) if device == 'cpu' else (2048, 4096, 8192):
        left, right = (torch.randn(side, side, device=device) for _ in range(2))
        ways = {'matmul': partial(torch.matmul, left, right)}
        if device == 'cpu' and torch.backends.mkldnn.is_available():
            # The library behind torch.matmul is not everywhere the fastest that torch has.
            ways['oneDNN'] = partial(torch.ops.mkldnn._linear_pointwise, left, right, None, 'none', [], '')
        times = time_in_turns(ways, rounds, device)
        best = max(best, 2 * side**3 / min(map(min, times.values())))
    return best


def _inference_table(rows: Sequence[InferenceRow]) -> str:
    """One line per way of computing; ratios with the tenth and ninth tenth of the rounds in brackets."""
    heads = (
        'model', 'px', 'batch', 'mode', 'images/s', 'p50 ms', 'p99 ms', 'x plain', 'x straightforward', 'x eager',
        'GFLOPs', 'of peak', 'MiB',
    )  # fmt: skip
    cells = [
        (
            row.model, row.image_size, row.batch_size, row.mode, f'{row.images_per_second:.2f}', f'{row.p50:.0f}',
            f'{row.p99:.0f}', f'{row.vs_plain:.2f}', f'{row.vs_straightforward:.2f}',
            f'{row.vs_eager:.2f}', f'{row.gflops:.1f}',
            f'{100 * row.peak_share:.0f} %', _mib(row.memory_mib),
        )
        for row in rows
    ]  # fmt: skip
    return markdown_table(heads, cells)


def _training_table(rows: Sequence[SpeedRow]) -> str:
    heads = ('model', 'px', 'batch', 'step', 'ms', 'x plain', 'x straightforward', 'MiB')
    cells = [
        (
            row.model, row.image_size, row.batch_size, row.mode, f'{1e3 * row.seconds.median:.0f}',
            f'{row.vs_plain:.2f}', f'{row.vs_straightforward:.2f}', _mib(row.memory_mib),
        )
        for row in rows
    ]  # fmt: skip
    return markdown_table(heads, cells)


def _describe_machine() -> dict[str, Any]:
    return dict(
        machine=platform.machine(),
        system=platform.system(),
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        versions=package_versions(),
    )


def _mib(value: float | None) -> str:
    return '' if value is None else f'{value:.0f}'


def _plain(value: Any) -> Any:
    """Spreads, which ``asdict`` leaves as tuples, by their names."""
    if isinstance(value, Spread):
        return value._asdict()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
