"""Options of a config that stop a run on a machine without an accelerator, or without worker processes."""

import logging

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from ..errors import GLSimError

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def fit_dataloaders(cfg: Config) -> None:
    """Remove data loader options that torch refuses or warns about from the config of a run, in place.

    ``persistent_workers`` and ``prefetch_factor`` are errors without workers, ``pin_memory`` warns without an
    accelerator (https://github.com/open-mmlab/mmsegmentation/issues/2514). Expires when mmengine fits them itself.
    """
    for name in DATALOADERS:
        if cfg.get(name) is not None:
            fit_dataloader(cfg[name])


def fit_dataloader(loader: dict) -> None:
    """Do the same for the config of one data loader, in place."""
    if not loader.get('num_workers'):
        loader.update(num_workers=0, persistent_workers=False)
        loader.pop('prefetch_factor', None)
    if get_device() == 'cpu':
        loader.update(pin_memory=False)


def check_device(device: str | torch.device | None) -> torch.device:
    """The device of a model, by default the GPU if there is one.

    Raises:
        GLSimError: If it is no device, or there is none of it here.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        count = torch.cuda.device_count()
        here = f'cuda:0 to cuda:{count - 1}' if count > 1 else 'cuda' if count else 'no GPU that torch can use'
        raise GLSimError(f'device {device} is not there: this machine has cpu and {here}; choose another') from error
    return found


def check_gpus(processes: int) -> None:
    """Refuse more processes than this machine has GPUs, if it has any.

    Raises:
        GLSimError: With how many there are.
    """
    count = torch.cuda.device_count()
    if 0 < count < processes:
        raise GLSimError(f'this machine has {count} GPU{"s" if count > 1 else ""}: give --gpus {count}')


def use_mixed_precision(cfg: Config) -> None:
    """Set the config of a run to mixed precision, in place: float16 on GPUs, bfloat16 autocast on CPUs.

    mmengine's ``AmpOptimWrapper`` asserts a CUDA, NPU, MLU or MUSA device
    (https://github.com/open-mmlab/mmpretrain/issues/1556). Expires when it works on CPU.
    """
    if get_device() == 'cpu':
        _set_wrapper(cfg, 'CPUAmpOptimWrapper')
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def fit_mixed_precision(cfg: Config) -> None:
    """Set the config of a run to float32, in place, where a recipe made for GPUs asks for ``AmpOptimWrapper``.

    That wrapper refuses to work elsewhere; link and expiry are those of :func:`use_mixed_precision`. bfloat16 is no
    substitute: most of today's processors have no instructions for it and are several times slower in it. The log says
    so when ``--amp`` or ``model.test_cfg.amp`` ask for it nevertheless.
    """
    device = get_device()
    if device in ('cpu', 'mps') and _class_name((cfg.get('optim_wrapper') or {}).get('type')) == 'AmpOptimWrapper':
        _set_wrapper(cfg, 'OptimWrapper')
        print_log(f'AmpOptimWrapper is for GPUs; training in float32 on {device}', logger='current')
    if device == 'cpu' and _asks_for_bfloat16(cfg):
        warn_of_slow_types('--amp and model.test_cfg.amp')


def warn_of_slow_types(options: str) -> None:
    """Tell people whose CPU is slower in half precision which options to leave out."""
    if not has_fast_bfloat16():
        print_log(
            'this processor has no instructions for bfloat16, which makes it several times slower than float32: leave '
            f'{options} out',
            logger='current',
            level=logging.WARNING,
        )


def has_fast_bfloat16() -> bool:
    """Whether oneDNN, which multiplies bfloat16 matrices for torch, has code for this CPU; torch.compile asks this too.

    It has none for x86 processors without AVX-512.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _asks_for_bfloat16(cfg: Config) -> bool:
    wrapper, test_options = cfg.get('optim_wrapper') or {}, (cfg.get('model') or {}).get('test_cfg') or {}
    return _class_name(wrapper.get('type')) == 'CPUAmpOptimWrapper' or test_options.get('amp') == 'bf16'


def _set_wrapper(cfg: Config, name: str) -> None:
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        cfg.optim_wrapper.pop(option, None)
    cfg.optim_wrapper['type'] = name


def _class_name(wrapper_type: object) -> str:
    name = wrapper_type if isinstance(wrapper_type, str) else getattr(wrapper_type, '__name__', '')
    return name.rpartition('.')[2]
