"""ONNX Runtime is told to send nothing before it is loaded, unless somebody has decided otherwise."""

import os

import pytest

from glsim_mm.exported.onnx_model import import_onnxruntime

pytest.importorskip('onnxruntime', reason='needs the extra export')


@pytest.mark.parametrize('before, after', [(None, '1'), ('0', '0')])
def test_no_statistics_are_sent(monkeypatch, before, after):
    monkeypatch.setenv('ORT_DISABLE_TELEMETRY', before or '')
    if before is None:
        monkeypatch.delenv('ORT_DISABLE_TELEMETRY')
    assert hasattr(import_onnxruntime(), 'InferenceSession')
    assert os.environ['ORT_DISABLE_TELEMETRY'] == after
