"""Distributed runs: start on machines without an accelerator, and a safe end.

mmengine selects a CUDA device before it starts the process group, and wraps the model for one
(https://github.com/open-mmlab/mmengine/blob/v0.10.7/mmengine/dist/utils.py). Expires when mmengine's ``init_dist``
and ``Runner.wrap_model`` work on CPU.

A gloo group that anything refers to keeps its threads after ``destroy_process_group``. If one of them frees a tensor
while the interpreter ends, the process aborts ("terminate called without an active exception",
https://github.com/pytorch/pytorch/pull/179291). Expires when torch ends these threads itself.
"""

import gc
import os
import subprocess

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..errors import GLSimError

# A variable that says that a launcher is at work, and what the launcher is called.
_STARTED_BY = {
    'pytorch': ('RANK', 'torchrun'),
    'slurm': ('SLURM_PROCID', 'srun'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'mpirun'),
}
_MASTER_PORT = '29500'  # default of torch.distributed


def use_cpu_distributed(cfg: Config) -> None:
    """Start a gloo process group and have the model wrapped for CPU, if a run's config asks for a launcher there.

    ``model_wrapper_cfg`` of the config is filled in place.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    if not dist.is_initialized():
        set_rank_environment(cfg.launcher)
        dist.init_process_group('gloo')
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(device_ids=None)
    cfg.model_wrapper_cfg = wrapper


def leave_process_group(runner: Runner) -> None:
    """Leave the process group, if there is one, and end its threads; the model is unwrapped, too."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    if is_model_wrapper(runner.model):
        runner.model = runner.model.module
    dist.destroy_process_group()
    gc.collect()  # the wrapper is part of reference cycles; the group's threads end with the last reference to it


def check_launcher(launcher: str) -> None:
    """Raise :class:`GLSimError` unless a launcher has started this process; they are known by their variables."""
    variable, starts = _STARTED_BY.get(launcher, ('', ''))
    if variable and variable not in os.environ:
        raise GLSimError(
            f'--launcher {launcher} is for processes that {starts} has started, which sets {variable}; start them so '
            '(see tools/dist_train.sh), or leave --launcher out'
        )


def set_rank_environment(launcher: str) -> None:
    """Translate the environment variables of ``'slurm'`` and ``'mpi'`` to those that torch reads, and torchrun sets."""
    check_launcher(launcher)
    environment = os.environ
    if launcher == 'slurm':
        ranks = ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID')
        environment.setdefault('MASTER_ADDR', _first_slurm_host(environment['SLURM_NODELIST']))
    elif launcher == 'mpi':
        ranks = ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK')
    else:
        return
    environment.setdefault('MASTER_PORT', _MASTER_PORT)
    for target, source in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), ranks):
        environment[target] = environment[source]


def _first_slurm_host(nodes: str) -> str:
    command = ['scontrol', 'show', 'hostname', nodes]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
