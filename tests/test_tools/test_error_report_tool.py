"""Metrics, confused classes and the report of mistakes, of one process and of two."""

import json
import re
from pathlib import Path

import pytest
from fresh_processes import run_tool_in_ranks
from tiny_run import CLASSES, PER_CLASS, call_tool, read_log, write_config

# All images look alike, so one class is taken for the other.
BLIND = ['--cfg-options', 'data_preprocessor.std=[1e9,1e9,1e9]']
TABLE = re.compile(r'true class +taken for +images +% of class\n(\S+) +(\S+) +(\d+) +([\d.]+)')


@pytest.fixture(scope='module')
def checkpoint(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('reported')
    config = write_config(folder / 'tiny_reported.py', tiny_images)
    call_tool('train', config, '--work-dir', folder, '--cfg-options', 'train_cfg.max_epochs=1')
    return folder / 'epoch_1.pth'


def without_metrics(html: str) -> str:
    """A report without the figures that depend on the time that data took."""
    return re.sub(r'<h2>Metrics.*?</section>', '', html, flags=re.DOTALL)


@pytest.mark.slow
def test_two_processes_report_what_one_does(checkpoint, tiny_images, tmp_path, port):
    config = write_config(tmp_path / 'tiny_reporting.py', tiny_images)
    # Of one name, because a page tells the name of its report.
    single, double = tmp_path / 'one' / 'errors.html', tmp_path / 'two' / 'errors.html'
    metrics = '--out-item', 'metrics', '--out'
    call_tool('test', config, checkpoint, '--work-dir', 'one', '--error-report', single, *metrics, 'one.json', *BLIND)
    # Three images in a batch, so that the last batches are padded.
    options = [*BLIND, 'test_dataloader.batch_size=3']
    outputs = ['--work-dir', 'two', '--error-report', double, *metrics, 'two.json']
    results = run_tool_in_ranks('test', config, checkpoint, *outputs, *options, cwd=tmp_path, port=port)
    assert [result.returncode for result in results] == [0, 0], results
    one, two = (json.loads(Path(f'{name}.json').read_text()) for name in ('one', 'two'))
    assert two['accuracy/top1'] == one['accuracy/top1'] == 50
    (found,) = TABLE.findall(''.join(result.stdout for result in results))  # once, not from each process
    assert {*found[:2]} == {*CLASSES}
    assert (int(found[2]), float(found[3])) == (PER_CLASS, 100)
    assert without_metrics(double.read_text()) == without_metrics(single.read_text())


def test_table_is_given_once_in_the_log_and_needs_no_report(checkpoint, tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_reported_log.py', tiny_images)
    call_tool('test', config, checkpoint, '--work-dir', 'log', *BLIND)
    assert len(TABLE.findall(read_log(Path('log')))) == 1
    assert not list(tmp_path.rglob('*.html'))
