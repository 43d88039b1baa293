"""The check of GPUs, gone through on the CPU: each check alone, what ends badly, and the report."""

import faulthandler
import json
import os
import subprocess
import sys
import time

import pytest
from tiny_run import ROOT, call_tool

from glsim_mm.analysis.gpu_check import CHECKS, Check, run_checks
from glsim_mm.analysis.gpu_index_checks import run_tests
from glsim_mm.analysis.gpu_model_checks import check_waits
from glsim_mm.analysis.gpu_outcome import NotHereError, Outcome, Scope, format_report, last_lines
from glsim_mm.models import GLSimViT

CPU = Scope('cpu', quick=True)


@pytest.fixture
def shallow(monkeypatch):
    """Two layers in place of twelve, also in the processes of the checks, which are forked from this one."""
    monkeypatch.setitem(GLSimViT.arch_zoo, 'vit-tiny', {**GLSimViT.arch_zoo['vit-tiny'], 'num_layers': 2})


def run(tmp_path, *names, **settings):
    told = []
    checks = [one for one in CHECKS if one.name in names]
    assert len(checks) == len(names)
    return run_checks(CPU, tmp_path, told.append, checks, **settings), told


@pytest.mark.slow
def test_all_checks_on_the_cpu(shallow, tmp_path, capsys):
    call_tool('gpu_check', '--device', 'cpu', '--quick', '--out', tmp_path)
    found = json.loads((tmp_path / 'gpu_check.json').read_text())
    status = {one['name']: one['status'] for one in found['checks']}
    assert list(status) == [one.name for one in CHECKS] and found['counts'] == dict(passed=6, failed=0, skipped=2)
    figures = {one['name']: one['figures'] for one in found['checks']}
    assert figures['model parity']['gls'] == dict(same=4, alike=4, crops=0.0, logits=0.0, scores=0.0, fits=True)
    assert figures['two processes']['backend'] == 'gloo' and figures['two processes']['largest_change'] > 1e-3
    assert figures['index parity']['ivf-flat cpu filter 1/2'] == dict(same_ids=1.0, largest_difference=0.0)
    assert {'64 px, batch 2, plain', '64 px, batch 2, straightforward'} < figures['model speed'].keys()
    report = (tmp_path / 'gpu_check.md').read_text()
    assert max(map(len, report.splitlines())) <= 80
    assert 'compares the CPU with itself' in ' '.join(report.split()) and found['machine']['device'] == 'cpu'
    assert '## hidden waits: skipped' in report and '| selector | same patches |' in report
    printed = capsys.readouterr()
    assert len([line for line in printed.out.splitlines() if line.startswith('passed ')]) == 6
    assert 'gpu_check.md' in printed.err


def test_one_check_after_others_that_fail(tmp_path):
    checks = [
        Check('error', 'os:abort', 60),  # takes no scope
        Check('package', 'os:abort', 60, ('torch', 'no_such_package')),
        Check('module', 'no_such_package:check', 60),
        Check('tests', 'glsim_mm.analysis.gpu_index_checks:run_tests', 60, ('faiss',)),
    ]
    outcomes = run_checks(CPU, tmp_path, len, checks)
    assert [one.status for one in outcomes] == ['failed', 'skipped', 'failed', 'skipped']
    assert 'takes no arguments' in outcomes[0].said and 'Traceback' in outcomes[0].log
    assert outcomes[1].said == 'needs no_such_package, which Python does not find'
    assert outcomes[2].said == "ModuleNotFoundError: No module named 'no_such_package'"
    assert json.loads((tmp_path / 'gpu_check.json').read_text())['counts'] == dict(passed=0, failed=2, skipped=2)


def abort(scope):
    faulthandler.disable()  # pytest's would print a traceback
    sys.stderr.write("Faiss assertion 'err__ == cudaSuccess' failed\n")
    sys.stderr.flush()
    os.abort()


def start_another_and_wait(scope):
    process = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])
    print(process.pid, flush=True)
    time.sleep(60)


def test_crashes_and_hangs_are_told_and_nothing_is_left(tmp_path):
    names = [f'{__name__}:abort', f'{__name__}:start_another_and_wait']
    crash, hang = run_checks(CPU, tmp_path, len, [Check(name, name, 1.0) for name in names])
    assert crash.said == "its process was ended by SIGABRT: Faiss assertion 'err__ == cudaSuccess' failed"
    assert crash.status == hang.status == 'failed' and hang.said == 'it took longer than 4 seconds and was ended'
    started = int(hang.log.splitlines()[0])
    for _ in range(100):  # its parent is gone; the system collects it
        if not os.path.exists(f'/proc/{started}') or 'Z' in open(f'/proc/{started}/stat').read().split()[2]:
            return
        time.sleep(0.1)
    raise AssertionError('what the check has started goes on')


def test_when_the_minutes_are_over(tmp_path):
    outcomes, told = run(tmp_path, 'index parity', 'index speed', limit=0.0)
    assert {one.status for one in outcomes} == {'skipped'} and 'together are over' in outcomes[1].said
    assert told[0].startswith('skipped index parity')


def test_what_needs_a_gpu():
    with pytest.raises(NotHereError, match='watches GPUs'):
        check_waits(CPU)
    with pytest.raises(NotHereError, match='the tests in .*test_gpu.py.* need a GPU'):
        run_tests(CPU)


@pytest.mark.parametrize('device, words', [('cuda:99', ' '), ('mps', 'for GPUs that CUDA or ROCm know')])
def test_no_gpu_ends_in_one_line(device, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        call_tool('gpu_check', '--device', device, '--out', tmp_path)
    error = capsys.readouterr().err.strip()
    assert end.value.code == 2 and error.startswith('error: ') and words in error and '\n' not in error


def test_a_report_of_failures_fits_a_terminal():
    log = 'x' * 200 + '\n' + '\x1b[31mred\x1b[0m\n```\n'
    outcomes = [
        Outcome('a check', 'failed', 'words ' * 60, dict(a=1), [['px', 'speed'], ['224', '10']], 3.2, last_lines(log)),
        Outcome('another', 'skipped', 'needs faiss, which Python does not find'),
    ]
    text = format_report({'device': 'a GPU ' * 30}, Scope('cuda'), outcomes)
    assert max(map(len, text.splitlines())) <= 80 and text.count('```') == 2 and '\x1b' not in text
    assert '0 passed, 1 failed, 1 skipped.' in text and '| px  | speed |\n| --- | ----- |\n| 224 | 10    |' in text
    assert 'CPU with itself' not in text and ROOT.name not in text
