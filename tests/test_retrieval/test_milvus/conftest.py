"""Milvus for tests: a local file for most, the standalone server for one."""

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

USER = 'root'
FIRST_PASSWORD = 'Milvus'  # of a new server
_numbers = count()


@pytest.fixture(scope='session')
def milvus_file(tmp_path_factory):
    """Location of a local Milvus file, without a collection; starting one takes a third of a second."""
    return f'milvus://{tmp_path_factory.mktemp("milvus")}/test.db'


@pytest.fixture
def location(milvus_file):
    """Location of a gallery that is not there yet."""
    return f'{milvus_file}/gallery_{next(_numbers)}'


@pytest.fixture
def standalone_server(tmp_path, monkeypatch):
    """Location of a fresh standalone server, without a collection; MILVUS_TOKEN lets us in."""
    if importlib.util.find_spec('milvus') is None:
        if os.environ.get('GLSIM_REQUIRE_SHARED') == '1':
            pytest.fail('GLSIM_REQUIRE_SHARED=1, but the server is not there: pip install --no-deps milvus==2.3.5')
        pytest.skip('needs the standalone server: pip install --no-deps milvus==2.3.5')
    script = Path(__file__).with_name('standalone_server.py')
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / 'server')],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        answer = process.stdout.readline()
        assert answer, 'the server did not start'
        port = json.loads(answer)['port']
        password = secrets.token_hex(12)
        _change_password(f'http://127.0.0.1:{port}', password)
        monkeypatch.setenv('MILVUS_TOKEN', f'{USER}:{password}')
        try:
            yield f'milvus://127.0.0.1:{port}'
        finally:
            process.stdin.close()
            process.wait()
            shutil.rmtree(tmp_path / 'server')  # 300 MB, which pytest would keep


def _change_password(uri, password):
    import pymilvus

    client = pymilvus.MilvusClient(uri=uri, token=f'{USER}:{FIRST_PASSWORD}')
    client.update_password(USER, FIRST_PASSWORD, password)
    client.close()
