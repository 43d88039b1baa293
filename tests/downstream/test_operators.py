"""tools/install_mmcv.sh where mmcv is there already."""

from tiny_run import ROOT, run_command


def test_operators_that_run_are_left_alone(tmp_path):
    result = run_command('bash', ROOT / 'tools' / 'install_mmcv.sh', '--cache', tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'nms and roi_align run on cpu' in result.stdout and 'nothing to do' in result.stdout
    assert not list(tmp_path.iterdir())
