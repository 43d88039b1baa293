"""Distributed runs of two processes on CPU, through the scripts."""

import sys
from pathlib import Path

import pytest
import torch
from fresh_processes import run_tool, run_tool_in_ranks
from tiny_run import ROOT, call_tool, run_command, write_config

from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file

# One step of plain gradient descent on all eight images, without randomness: the change of weights is the gradient.
ONE_STEP = {
    'train_cfg.max_epochs': 1,
    'optim_wrapper.optimizer.lr': 1.0,
    'optim_wrapper.optimizer.momentum': 0.0,
    'param_scheduler': None,
    'model.backbone.drop_path_rate': 0.0,
    'train_dataloader.dataset.pipeline.2.prob': 0.0,
    'default_hooks.checkpoint.save_best': None,
}


def options(batch_size: int) -> list[str]:
    values = {**ONE_STEP, 'train_dataloader.batch_size': batch_size}
    return ['--cfg-options', *(f'{name}={value}' for name, value in values.items())]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint_file(path)['state_dict']


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tiny_images, tmp_path, port):
    config = write_config(tmp_path / 'tiny_dist.py', tiny_images)
    call_tool('train', config, '--work-dir', tmp_path / 'start', '--cfg-options', 'train_cfg.max_epochs=1')
    start = tmp_path / 'start' / 'epoch_1.pth'
    single, double = ([*options(size), f'load_from={start}'] for size in (8, 4))
    call_tool('train', config, '--work-dir', tmp_path / 'single', *single)
    command = ('train', config.name, '--work-dir', 'two of them', *double)
    first, second = run_tool_in_ranks(*command, cwd=tmp_path, port=port)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert 'Warning' not in first.stderr and (second.stdout, second.stderr) == ('', '')
    lines = first.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ['training', 'one', 'epoch', 'last']
    assert ' on 2 x cpu: 8 photos' in lines[0]

    before = weights(start)
    expected, found = weights(tmp_path / 'single' / 'epoch_1.pth'), weights(tmp_path / 'two of them' / 'epoch_1.pth')
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name] - before[name], value - before[name], rtol=1e-4, atol=1e-6, msg=name)
    gradient = {name: (value - before[name]).abs().max() for name, value in expected.items()}
    assert max(gradient.values()) > 1e-3
    assert sum(value > 0 for value in gradient.values()) > len(gradient) * 0.9


@pytest.mark.parametrize(
    'words, code, said',
    [
        (['info', 'nowhere'], 2, 'error: there is no gallery at nowhere'),
        (['info', '--help'], 0, ''),
    ],
)
def test_the_first_process_speaks(words, code, said, tmp_path):
    program = f'import sys; sys.argv = {["glsim " + words[0], *words[1:]]}; from pathlib import Path\n'
    program += f'from glsim_mm.processes import start_processes; sys.exit(start_processes(3, Path({str(ROOT)!r})))'
    result = run_command(sys.executable, '-c', program, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert result.returncode == code
    assert result.stderr.startswith(said) and result.stderr.count('error') == said.count('error'), result.stderr


def test_gpus_start_the_command_once_for_each(tmp_path, monkeypatch):
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\necho "$RANK of $WORLD_SIZE: $@" >> {tmp_path}/said\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(python))
    (tmp_path / 'config.py').touch()
    command = ['train.py', str(tmp_path / 'config.py'), '--gpus', '2']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit) as end:
        call_tool('train', *command[1:])
    assert end.value.code == 0
    said = [f'{rank} of 2: {" ".join(command)}' for rank in range(2)]
    assert sorted((tmp_path / 'said').read_text().splitlines()) == said


THREADS_AFTER_TRAINING = """
import sys
from pathlib import Path
from glsim_mm import apis
cfg = apis.load_config(sys.argv[1])
cfg.update(launcher='pytorch', work_dir=sys.argv[2])
runner = apis.run_training(cfg)
names = [path.read_text().strip() for path in Path('/proc/self/task').glob('*/comm')]
print('threads:', *[name for name in names if 'gloo' in name])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='threads are counted in /proc')
def test_no_thread_of_the_process_group_is_left(tiny_images, tmp_path, port):
    # A thread that frees a tensor while the interpreter ends aborts the process, now and then.
    config = write_config(tmp_path / 'tiny_end.py', tiny_images)
    rank = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    script = tmp_path / 'train_once.py'
    script.write_text(THREADS_AFTER_TRAINING)
    result = run_tool(script, config, tmp_path / 'work', cwd=tmp_path, **rank)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == 'threads:'


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_say_how_to_be_used(script, tmp_path):
    result = run_command('bash', ROOT / 'tools' / script, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('usage: ')
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    'script, given, passed',
    [
        ('dist_train.sh', ['my c.py', '2', '--tta'], ['train.py', '--launcher', 'pytorch', 'my c.py']),
        ('dist_test.sh', ['my c.py', 'w.pth', '2', '--tta'], ['test.py', '--launcher', 'pytorch', 'my c.py', 'w.pth']),
        (
            'dist_encode.sh',
            ['dataset=val', 'c.py', 'w.pth', 'a gallery', '2', '--tta'],
            ['build.py', '--launcher', 'pytorch', '--dataset', 'val', 'c.py', 'w.pth', '--out', 'a gallery'],
        ),
    ],
)
def test_scripts_start_processes_with_their_arguments(script, given, passed, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    environment = dict(PYTHON=str(python), PORT='29123')
    nodes = {'--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1'}
    if script == 'dist_train.sh':
        environment.update(NNODES='3', NODE_RANK='1', MASTER_ADDR='10.0.0.9')
        nodes = {'--nnodes=3', '--node_rank=1', '--master_addr=10.0.0.9'}
    result = run_command('bash', ROOT / 'tools' / script, *given, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    python_path, *arguments = result.stdout.splitlines()
    assert Path(python_path).resolve() == ROOT and arguments[:2] == ['-m', 'torch.distributed.run']
    assert {*nodes, '--master_port=29123', '--nproc_per_node=2'} < set(arguments)
    tool, *rest = arguments[-len(passed) - 1 :]
    assert [Path(tool).name, *rest] == [*passed, '--tta'] and Path(tool).is_file()


def test_slurm_passes_options_on(tmp_path):
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$PYTHONPATH" "$@"\n')
    srun.chmod(0o755)
    command = ['bash', ROOT / 'tools' / 'slurm_train.sh', 'gpu', 'a job', 'my config.py', 'work dir', '--amp']
    path = f'{srun.parent}:/usr/bin:/bin'
    result = run_command(*command, cwd=tmp_path, PATH=path, GPUS='4', GPUS_PER_NODE='2', SRUN_ARGS='--time 10 --mem=8G')
    assert result.returncode == 0, result.stderr
    python_path, *arguments = result.stdout.splitlines()
    assert Path(python_path).resolve() == ROOT
    assert arguments[:2] == ['--partition=gpu', '--job-name=a job']
    assert {'--gres=gpu:2', '--ntasks=4', '--time', '10', '--mem=8G'} <= set(arguments)
    assert arguments[-5:] == ['my config.py', '--work-dir=work dir', '--launcher', 'slurm', '--amp']
