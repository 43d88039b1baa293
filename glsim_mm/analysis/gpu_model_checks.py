"""Checks of the model on a GPU: parity with the CPU, mixed precision, hidden waits, two processes, speed."""

import copy
import gc
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector

from ..compat import import_mmpretrain
from ..models.necks import SelectedRegions, build_selector
from ..selectors import SELECTORS
from .gpu_outcome import FAILED, PASSED, CheckFailedError, NotHereError, Outcome, Scope
from .model_speed import NUM_CLASSES, Workload, build_glsim, make_images, run_inference

_DIFFERENCE = 1e-3  # of numbers of size 1 in float32, which devices sum up in another order
_CLOSE = {torch.float16: 0.02, torch.bfloat16: 0.1}  # of logits, as a share of their length
# Selectors that a random generator or annotated boxes decide have nothing to compare.
SELECTED = tuple(name for name, row in SELECTORS.items() if row.reads != 'boxes' and name != 'random')
_QUICK = ('gls', 'rollout')
_STEP = 0.1  # learning rate of one step of plain gradient descent


def check_parity(scope: Scope) -> Outcome:
    """Whether a GPU computes what the CPU does: tokens, scores, patches, boxes, crops and logits, for each selector."""
    import_mmpretrain()
    images = make_images(_work(scope, 'cpu'))
    here = _build(scope)
    there = copy.deepcopy(here).to(scope.device)
    names = _QUICK if scope.quick else SELECTED
    table, figures = [['selector', 'same patches', 'scores', 'crops', 'logits']], {}
    with torch.no_grad(), _without_tf32():
        tokens = [_run(model, images, stage='backbone')[-1] for model in (here, there)]
        difference = _difference(*tokens)
        for name in names:
            found = []
            for model in (here, there):
                model.neck = build_selector(name, top_o=4)
                found.append((_run(model, images, stage='selector'), model(images.to(_device_of(model))).cpu()))
            figures[name] = _compare(*found[0], *found[1])
            one = figures[name]
            numbers = [f'{one[key]:.1e}' for key in ('scores', 'crops', 'logits')]
            table.append([name, f'{one["same"]} of {len(images)}', *numbers])
    with torch.no_grad():  # as it computes by default: TF32 in the patch embedding of NVIDIA's GPUs
        by_default = _difference(tokens[0], _run(there, images, stage='backbone')[-1])
    wrong = [name for name in names if not figures[name]['fits']]
    if not difference <= _DIFFERENCE:
        wrong.insert(0, 'tokens')
    said = (
        f'largest difference of tokens {difference:.1e}, with the default precision of convolutions {by_default:.1e}; '
        'patches may differ where scores are as near as rounding'
    )
    figures['tokens'] = dict(difference=difference, by_default=by_default)
    if wrong:
        return Outcome(
            status=FAILED, said=f'CPU and GPU differ: {", ".join(wrong)}; {said}', figures=figures, table=table
        )
    return Outcome(said=said, figures=figures, table=table)


def check_mixed_precision(scope: Scope) -> Outcome:
    """Whether logits in float16 and bfloat16 are finite and close to float32, and training steps leave finite weights.

    The region is the centre, so that rounding cannot select another one.
    """
    import_mmpretrain()
    device = torch.device(scope.device)
    model = _build(scope).to(device)
    images, labels = make_images(_work(scope)), _labels(scope)
    figures, left_out, status = {}, [], PASSED
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix('torch.')
        if device.type == 'cpu' and dtype is torch.float16:
            left_out.append('float16 is for GPUs')
            continue
        if device.type == 'cuda' and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
            left_out.append('this GPU has no bfloat16')
            continue
        model.neck = build_selector('center')
        with torch.no_grad():
            exact = model(images).float()
            with torch.autocast(device.type, dtype):
                found = model(images).float()
        model.neck = build_selector('gls')
        trained = copy.deepcopy(model).train()
        scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        optimizer = torch.optim.SGD(trained.parameters(), lr=1e-3)
        for _ in range(3):  # the first may be left out, until the scale fits
            with torch.autocast(device.type, dtype):
                loss = F.cross_entropy(trained(images).float(), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        distance = float((found - exact).norm() / exact.norm())
        is_finite = bool(found.isfinite().all() and loss.isfinite() and _weights(trained).isfinite().all())
        figures[name] = dict(distance=distance, allowed=_CLOSE[dtype], loss=float(loss), finite=is_finite)
        if not is_finite or not distance <= _CLOSE[dtype]:
            status = FAILED
    parts = [
        f'logits in {name} are {one["distance"]:.1e} from float32, {one["allowed"]} at most; '
        f'{"all numbers" if one["finite"] else "not all numbers"} are finite, also in training steps'
        for name, one in figures.items()
    ]
    return Outcome(status=status, said='; '.join([*parts, *left_out]), figures=figures)


def check_waits(scope: Scope) -> Outcome:
    """Whether the forward pass waits for the GPU anywhere, by torch's own debug mode; says in which lines."""
    if not scope.on_gpu:
        raise NotHereError('the CPU is never waited for; torch.cuda.set_sync_debug_mode watches GPUs')
    import_mmpretrain()
    model, images = _build(scope).to(scope.device), make_images(_work(scope))
    if not waiting_lines(lambda: torch.ones(1, device=scope.device).item()):
        raise CheckFailedError('torch.cuda.set_sync_debug_mode does not notice item(), which waits')
    waits = {}
    with torch.no_grad():
        for name in [*SELECTED, 'random']:
            model.neck = build_selector(name)
            model(images)  # the first pass makes handles of libraries and caches of positions
            waits[name] = waiting_lines(partial(model, images))
    model.neck = build_selector('gls')
    model.train()
    step = partial(_step, model, images, _labels(scope))
    step()
    waits['training step'] = waiting_lines(step)
    found = {name: lines for name, lines in waits.items() if lines}
    if found:
        said = '; '.join(f'{name} waits in {", ".join(lines)}' for name, lines in found.items())
        return Outcome(status=FAILED, said=said, figures=waits)
    return Outcome(said=f'none of {len(waits)} passes waits, those of each selector and a training step', figures=waits)


def waiting_lines(function: Any) -> list[str]:
    """Lines of Python in which a call waited for the GPU, with how often, as far as torch notices."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    # Setting the mode warns too, that it is a prototype.
    waits = [one for one in caught if 'called a synchronizing' in str(one.message)]
    places = Counter(f'{"/".join(Path(one.filename).parts[-3:])}:{one.lineno}' for one in waits)
    return [f'{place} ({count} times)' if count > 1 else place for place, count in places.items()]


def check_two_processes(scope: Scope) -> Outcome:
    """Whether two processes have equal weights after a step, and those of one process that saw both halves.

    Two GPUs talk by NCCL, which refuses two processes on one; there, and on the CPU, it is Gloo.
    """
    if not dist.is_available():
        raise NotHereError('torch is built without torch.distributed')
    count = torch.cuda.device_count() if scope.on_gpu else 0
    backend = 'nccl' if count > 1 and dist.is_nccl_available() else 'gloo'
    if backend == 'gloo' and not dist.is_gloo_available():
        raise NotHereError('torch is built without Gloo, and NCCL needs two GPUs')
    method = 'spawn' if scope.on_gpu or torch.cuda.is_available() else 'fork'
    with TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(take_step, (scope, backend, count, folder), nprocs=2, start_method=method)
        both = [torch.load(Path(folder, f'{rank}.pt'), weights_only=True) for rank in range(2)]
    import_mmpretrain()
    model, images, labels = _build(scope).to(scope.device), make_images(_work(scope)), _labels(scope)
    before = _weights(model)
    _step(model, images, labels)
    alone = _weights(model)
    pairs = dict(processes_differ=(both[0], both[1]), differ_from_one=(both[0], alone), largest_change=(alone, before))
    figures = {name: float((one - other).abs().max()) for name, (one, other) in pairs.items()}
    # Gradients are summed in another order; the share is that of the step.
    is_right = not figures['processes_differ'] and figures['differ_from_one'] <= 0.02 * figures['largest_change']
    place = 'two GPUs' if backend == 'nccl' else 'one GPU' if scope.on_gpu else 'the CPU'
    said = (
        f'by {backend} on {place}: after a step of up to {figures["largest_change"]:.1e}, weights of the two differ by '
        f'{figures["processes_differ"]:.1e} from each other, and by {figures["differ_from_one"]:.1e} from those of one'
    )
    return Outcome(status=PASSED if is_right else FAILED, said=said, figures=dict(backend=backend, **figures))


def take_step(rank: int, scope: Scope, backend: str, gpus: int, folder: str) -> None:
    """One of the two processes: a step on its half of the images, then its weights go to a file."""
    import_mmpretrain()
    device = torch.device(scope.device)
    if device.type == 'cuda':
        device = torch.device('cuda', rank if backend == 'nccl' else device.index or 0)
        torch.cuda.set_device(device)
    address = Path(folder, 'meeting').as_uri()  # a file: no port that another process may take
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        model = DistributedDataParallel(_build(scope).to(device), device_ids=[device] if gpus else None)
        images, labels = make_images(_work(scope)).to(device), _labels(scope).to(device)
        half = slice(rank * len(images) // 2, (rank + 1) * len(images) // 2)
        _step(model, images[half], labels[half])
        torch.save(_weights(model.module), Path(folder, f'{rank}.pt'))
        del model
    finally:
        dist.destroy_process_group()
        gc.collect()  # the group's threads end with the last reference to it, see glsim_mm.compat.distributed


def measure_speed(scope: Scope) -> Outcome:
    """Images per second against one plain pass of timm's ViT and the straightforward two passes."""
    import_mmpretrain()
    if scope.on_gpu:
        loads = [(224, 32), (448, 8)] if scope.quick else [(224, 1), (224, 32), (448, 1), (448, 16)]
        works = [Workload('vit-small' if scope.quick else 'vit-base', *one, device=scope.device) for one in loads]
    else:
        works = [Workload('vit-tiny', 64, 2)]
    modes = ['eager', 'bf16'] if scope.on_gpu and torch.cuda.is_bf16_supported(False) else ['eager']
    rounds = 2 if not scope.on_gpu else 10 if scope.quick else 20
    rows = run_inference(works, modes, rounds, scope.on_gpu, None, lambda text: None)
    table = [['px', 'batch', 'way', 'images/s', '/ plain', '/ straightforward', 'MiB']]
    for row in rows:
        speed, memory = f'{row.images_per_second:.1f}', '' if row.memory_mib is None else f'{row.memory_mib:.0f}'
        ratios = [f'{row.vs_plain.median:.2f}', f'{row.vs_straightforward.median:.2f}']
        table.append([str(row.image_size), str(row.batch_size), row.mode, speed, *ratios, memory])
    figures = {
        f'{row.image_size} px, batch {row.batch_size}, {row.mode}': dict(
            images_per_second=row.images_per_second,
            vs_plain=row.vs_plain._asdict(),
            vs_straightforward=row.vs_straightforward._asdict(),
            memory_mib=row.memory_mib,
        )
        for row in rows
    }
    said = (
        f"model {works[0].model}; plain is one pass of timm's ViT, straightforward the paper's two; ratios are medians"
    )
    return Outcome(said=said, figures=figures, table=table)


def _work(scope: Scope, device: str | None = None) -> Workload:
    model, size, batch = ('vit-small', 224, 8) if scope.on_gpu and not scope.quick else ('vit-tiny', 64, 4)
    return Workload(model, size, batch, device or scope.device)


def _build(scope: Scope) -> nn.Module:
    """The model on the CPU, with weights of which patches differ, and with no chance in training."""
    model = build_glsim(_work(scope, 'cpu'))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05, generator=generator)
    return model


def _labels(scope: Scope) -> Tensor:
    work = _work(scope)
    return torch.arange(work.batch_size, device=work.device) % NUM_CLASSES


def _step(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=_STEP)
    F.cross_entropy(model.train()(images), labels).backward()
    optimizer.step()


def _weights(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().cpu()


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _run(model: Any, images: Tensor, stage: str) -> Any:
    """A stage of the model, on the CPU again."""
    found = model.extract_feat(images.to(_device_of(model)), stage=stage)
    moved = [item.cpu() if isinstance(item, Tensor) else item for item in found]
    return SelectedRegions(*moved) if isinstance(found, SelectedRegions) else moved


def _compare(here: SelectedRegions, logits: Tensor, there: SelectedRegions, found: Tensor) -> dict[str, Any]:
    """Differences of two devices; crops and logits of images with the same box, without which there is no comparing."""
    same = (here.indices.sort(1).values == there.indices.sort(1).values).all(1)
    # The worst of the selected patches, by the other's choice: a patch that is as good as it may take its place.
    limit = _DIFFERENCE * max(1.0, float(here.scores.abs().max()))
    chosen = [here.scores.gather(1, one.indices).min(1).values for one in (here, there)]
    is_tie = bool((chosen[0] - chosen[1] <= limit)[~same].all())
    alike = (here.boxes == there.boxes).flatten(1).all(1)
    pairs = {'crops': (here.crops, there.crops), 'logits': (logits, found)}
    differences = {name: _difference(one[alike], other[alike]) for name, (one, other) in pairs.items()}
    differences['scores'] = _difference(here.scores, there.scores)
    is_close = all(value <= _DIFFERENCE for value in differences.values())
    return dict(
        same=int(same.sum()), alike=int(alike.sum()), **differences, fits=is_tie and is_close and bool(alike.any())
    )


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest, as a share of the largest number where that is above 1; 0 for nothing."""
    if not one.numel():
        return 0.0
    return float((one.float() - other.float()).abs().max() / max(1.0, float(one.float().abs().max())))


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute in float32: cuDNN may round to 10 bits by default, and matrix products too where an image is set so."""
    cudnn, before = torch.backends.cudnn, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
