"""Environment of distributed runs on CPU; the runs themselves are in tests/test_tools/test_dist.py."""

import os

import pytest
from mmengine.config import Config

from glsim_mm.compat.distributed import set_rank_environment, use_cpu_distributed
from glsim_mm.errors import GLSimError

RANK_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@pytest.fixture(autouse=True)
def _no_rank(monkeypatch: pytest.MonkeyPatch):
    for name in RANK_VARIABLES:
        monkeypatch.setenv(name, '')  # restores the value after the test
        monkeypatch.delenv(name)


def test_slurm(monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostname node[3-4]" ] && printf "node3\\nnode4\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    for name, value in dict(PROCID='3', NTASKS='4', LOCALID='1', NODELIST='node[3-4]').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    set_rank_environment('slurm')
    assert [os.environ[name] for name in RANK_VARIABLES] == ['3', '4', '1', 'node3', '29500']


def test_mpi_keeps_port(monkeypatch):
    monkeypatch.setenv('MASTER_PORT', '1234')
    for name, value in dict(RANK='1', SIZE='2', LOCAL_RANK='0').items():
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', value)
    set_rank_environment('mpi')
    assert [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT')] == ['1', '2', '0', '1234']


def test_single_process_is_left_alone():
    cfg = Config(dict(launcher='none'))
    use_cpu_distributed(cfg)
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize(
    'launcher, starts, variable',
    [('pytorch', 'torchrun', 'RANK'), ('slurm', 'srun', 'SLURM_PROCID'), ('mpi', 'mpirun', 'OMPI_COMM_WORLD_RANK')],
)
def test_launchers_that_started_nothing(launcher, starts, variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(GLSimError, match=f'--launcher {launcher} .* that {starts} has started, which sets {variable};'):
        set_rank_environment(launcher)
