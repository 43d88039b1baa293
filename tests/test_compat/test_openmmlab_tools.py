"""mmpretrain's own command lines work with a GLSim config, which only imports ``glsim_mm``."""

from pathlib import Path

import mmpretrain
import pytest
import torch
from fresh_processes import run_tool
from mmengine.logging import HistoryBuffer
from tiny_run import call_tool, write_config, write_images

from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file

TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'

# Each tool is run as a script.
DRIVER = """
import runpy, sys
for command in sys.argv[1].splitlines():
    sys.argv = command.split()
    runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    """A folder with a config that inherits from mmpretrain's, and the checkpoint of one epoch."""
    folder = tmp_path_factory.mktemp('openmmlab')
    config = write_config(folder / 'tiny_openmmlab.py', write_images(folder / 'images'))
    text = config.read_text().replace('_base_ = [', "_base_ = ['mmpretrain::_base_/schedules/imagenet_bs256.py', ")
    config.write_text(text.replace("optimizer=dict(type='SGD'", "optimizer=dict(_delete_=True, type='SGD'"))
    call_tool('train', config, '--work-dir', folder / 'work', '--cfg-options', 'train_cfg.max_epochs=1')
    return folder


@pytest.mark.slow
def test_training_resumes_and_testing_works(run):
    commands = [
        f'{TOOLS}/train.py tiny_openmmlab.py --work-dir work --no-persistent-workers --resume',
        f'{TOOLS}/test.py tiny_openmmlab.py work/epoch_2.pth --work-dir tested',
    ]
    (run / 'driver.py').write_text(DRIVER)
    result = run_tool(run / 'driver.py', '\n'.join(commands), cwd=run)
    assert result.returncode == 0, result.stderr
    assert 'resumed epoch: 1' in result.stdout
    assert 'Epoch(test) [2/2]    accuracy/top1' in result.stdout


def test_torch_reads_records_of_mmengine_and_no_other_code(run, tmp_path):
    load_checkpoint_file(run / 'work' / 'epoch_1.pth')  # leaves allowed what was
    content = torch.load(run / 'work' / 'epoch_1.pth', map_location='cpu', weights_only=True)
    assert content['message_hub']['log_scalars']['train/loss'].current() > 0

    torch.save(dict(state_dict=GetsAnotherMethod()), tmp_path / 'code.pth')
    with pytest.raises(Exception, match='getattr'):
        torch.load(tmp_path / 'code.pth', weights_only=True)


class GetsAnotherMethod:
    """Pickled as a call of ``getattr``, which HistoryBuffers need for their own methods and for nothing else."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init_subclass__')
