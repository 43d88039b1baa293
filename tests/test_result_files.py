"""The table that the quick start ends with."""

import json

import pytest

from glsim_mm.errors import GLSimError
from glsim_mm.result_files import format_results, read_metrics

METRICS = {'accuracy/top1': 96.25, 'class/mean_accuracy': 96.0, 'class/deviation': 4.05}


def test_table_aligns_models_and_guessing():
    table = format_results({'GLSim': METRICS, 'plain ViT': {'accuracy/top1': 8.0}}, num_classes=8)
    assert table.splitlines() == [
        '           top-1 %  class mean %  class deviation',
        'GLSim         96.2          96.0              4.0',
        'plain ViT      8.0             -                -',
        'guessing      12.5             -                -',
    ]


def test_metrics_are_read_back(tmp_path):
    (tmp_path / 'metrics.json').write_text(json.dumps(METRICS))
    assert read_metrics(tmp_path / 'metrics.json') == METRICS


@pytest.mark.parametrize('content', [None, '', '[1]', '{"accuracy/top1": "high"}'])
def test_other_files_are_a_clear_error(content, tmp_path):
    path = tmp_path / 'metrics.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(GLSimError, match=r'metrics\.json.*glsim test'):
        read_metrics(path)
