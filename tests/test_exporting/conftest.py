"""One exported model for all tests."""

import pytest
from exported_files import write_model
from tiny_run import call_tool


@pytest.fixture(scope='session')
def made(tmp_path_factory):
    """Config, checkpoint, images and the exported classifier."""
    folder = tmp_path_factory.mktemp('exported')
    config, weights, images = write_model(folder)
    path = folder / 'model.onnx'
    call_tool('export', config, weights, '--out', path)
    return config, weights, images, path
