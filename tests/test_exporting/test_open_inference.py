"""Messages of the Open Inference Protocol, and clients of servers that speak it, be they good, busy, wrong or gone."""

import json
import socket
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from running_servers import answering

from glsim_mm import http_client
from glsim_mm.errors import GLSimError
from glsim_mm.exported import ExportedModel, RemoteModel
from glsim_mm.exported.open_inference import DATATYPES, LENGTH_HEADER, ProtocolError, read_message, write_message
from glsim_mm.exported.triton import model_file
from glsim_mm.http_client import HttpClient, RefusedError, ServerAwayError
from glsim_mm.search import ExportedEncoder

TENSORS = st.sampled_from([*DATATYPES.values()]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), TENSORS, min_size=1, max_size=3), st.data())
def test_tensors_come_back_as_they_were(tensors, data):
    names = sorted(tensors)
    binary = data.draw(st.lists(st.sampled_from(names), unique=True))
    body, headers = write_message(dict(id='7'), 'inputs', tensors, binary)
    message, found = read_message(body, headers.get(LENGTH_HEADER), 'inputs')
    assert message['id'] == '7' and list(found) == list(tensors)
    for name, values in tensors.items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        np.testing.assert_array_equal(found[name], values)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.none() | st.text(max_size=4))
def test_any_bytes_are_a_message_or_refused(body, length):
    with pytest.raises(ProtocolError):
        read_message(body, length, 'inputs')


@settings(max_examples=50)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3), st.lists, max_leaves=6)
)
def test_any_members_of_a_tensor_are_numbers_or_refused(value):
    good = dict(name='a', datatype='UINT8', shape=[2], data=[1, 2])
    for member in good:
        body = json.dumps(dict(inputs=[{**good, member: value}])).encode()
        try:
            _, found = read_message(body, None, 'inputs')
        except ProtocolError:
            continue
        assert all(one.dtype in DATATYPES.values() for one in found.values())


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(shape=[2, 2]), 'data must be 4 numbers'),
        (dict(data=[[1, 2]]), ''),
        (dict(data=[1, 256]), 'numbers of its datatype'),
        (dict(data=[1, -1]), 'numbers of its datatype'),
        (dict(data=[1, 1.5]), 'numbers of its datatype'),
        (dict(data=[1, 10**30]), 'numbers of its datatype'),
        (dict(data=['1', '2']), 'numbers of its datatype'),
        (dict(data=[[1], [2, 3]]), 'numbers of its datatype'),
        (dict(datatype='BYTES'), 'datatype must be one of'),
        (dict(shape=[-1, -2]), 'shape must be'),
        (dict(shape=[True, 2]), 'shape must be'),
        (dict(shape=[2**31, 2**31, 2**31]), 'shape must be'),
        (dict(shape=[2**30] * 8), 'data must be'),
        (dict(parameters=dict(binary_data_size=2)), 'has 2 bytes, which is neither said nor sent'),
        (dict(parameters=dict(binary_data_size=10**12), shape=[10**6, 10**6]), 'neither said nor sent'),
    ],
)
def test_tensors_that_are_none(change, message):
    body = json.dumps(dict(inputs=[{**dict(name='a', datatype='UINT8', shape=[2], data=[1, 2]), **change}])).encode()
    if not message:  # nested as its values lie
        assert read_message(body, None, 'inputs')[1]['a'].tolist() == [1, 2]
        return
    with pytest.raises(ProtocolError, match=message):
        read_message(body, None, 'inputs')


def test_messages_that_are_none():
    good, headers = write_message({}, 'inputs', dict(a=np.arange(3)), ['a'])
    length = headers[LENGTH_HEADER]
    for body, said, message in (
        (good, str(len(good) + 1), 'bytes of the JSON'),
        (good, '9' * 5000, 'bytes of the JSON'),
        (good, '-1', 'bytes of the JSON'),
        (good + b'x', length, '1 bytes belong to no tensor'),
        (good[:-1], length, 'neither said nor sent'),
        (b'[' * 100_000, None, 'no object'),
        (b' ' * (17 << 20), None, 'at most 16 MiB'),
        (b'{"inputs": []}', None, 'list of 1 to 64'),
        (json.dumps(dict(inputs=[dict(name='a', datatype='INT8', shape=[0], data=[])] * 2)).encode(), None, 'twice'),
    ):
        with pytest.raises(ProtocolError, match=message):
            read_message(body, said, 'inputs')


# -- clients ---------------------------------------------------------------------------------------------------------


class Other:
    """A server of the protocol that is not ours: numbers as JSON, or as bytes, and the description where Triton has it.

    Attributes:
        busy: How many further requests find it busy.
    """

    def __init__(self, path, is_binary=False, tells='config', name='glsim'):
        self.model, self.is_binary, self.tells, self.name = ExportedModel(path, device='cpu'), is_binary, tells, name
        self.busy, self.asked, self.change = 0, [], lambda outputs: outputs
        self.shape = [-1, 3, *self.model.info.image_size]

    def __call__(self, method, path, headers, body):
        self.asked.append((path, headers, len(body)))
        if self.busy:
            self.busy -= 1
            return 503, {'Retry-After': '0'}, b'{"error": "the queue is full"}'
        place = f'/v2/models/{self.name}'
        if path == '/v2':
            return self.tell(name='other', extensions=['binary_tensor_data'] if self.is_binary else [])
        if path == place:
            outputs = [dict(name=one, datatype='FP32', shape=[-1]) for one in self.model.info.outputs]
            inputs = [dict(name='pixels', datatype='FP32', shape=self.shape)]
            return self.tell(name=self.name, platform='onnxruntime_onnx', inputs=inputs, outputs=outputs)
        if path == f'{place}/config' and self.tells == 'config':
            parameters = dict(glsim_mm=dict(string_value=self.model.info.to_json()))
            return self.tell(max_batch_size=3, parameters=parameters)
        if path == f'{place}/infer':
            message, tensors = read_message(body, headers.get(LENGTH_HEADER), 'inputs')
            names = [one['name'] for one in message['outputs']]
            outputs = self.change(self.model(tensors['pixels'], names))
            content, extra = write_message({}, 'outputs', outputs, names if self.is_binary else ())
            return 200, extra, content
        return 404, {}, b'{"error": "nothing is here"}'

    def tell(self, **message):
        return 200, {'Content-Type': 'application/json'}, json.dumps(message).encode()


@pytest.mark.parametrize('is_binary', [False, True])
def test_another_server_runs_the_model(made, is_binary):
    _, _, images, path = made
    other, local = Other(path, is_binary), ExportedEncoder(path, device='cpu', keep_patches=True)
    with answering(other) as url:
        remote = ExportedEncoder(RemoteModel(url, token='secret'), keep_patches=True)
        wanted, found = local.encode(str(images)), remote.encode(str(images))
        assert remote.fingerprint == local.fingerprint and remote.checkpoint == f'{url}/v2/models/glsim'
    for space in local.spaces:
        np.testing.assert_allclose(found.embeddings[space], wanted.embeddings[space], atol=1e-5)
    np.testing.assert_allclose(found.patches, wanted.patches, atol=1e-3)
    assert [one.box for one in found.records] == [one.box for one in wanted.records]
    sizes = [size for place, _, size in other.asked if place.endswith('/infer')]
    assert len(sizes) == 3  # 8 photos, of which Triton takes 3 at a time
    assert all(headers['Authorization'] == 'Bearer secret' for _, headers, _ in other.asked)
    assert other.asked[0][1]['Host'] == url.removeprefix('http://')


def test_a_file_tells_what_the_server_does_not(made):
    path = made[3]
    with answering(Other(path, tells='', name='birds')) as url:
        with pytest.raises(GLSimError, match='has no model glsim: give its address with the name'):
            RemoteModel(url)
        with pytest.raises(GLSimError, match='give the .onnx file that it runs'):
            RemoteModel(f'{url}/v2/models/birds')
        model = RemoteModel(f'{url}/v2/models/birds/', path)
        pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 40), dtype=np.uint8)
        for name, values in ExportedModel(path, device='cpu')(pixels).items():
            np.testing.assert_allclose(model(pixels)[name], values, atol=1e-5)
        with pytest.raises(GLSimError, match='has no model birds'):
            RemoteModel(f'{url}/v2/models/birds/versions/2', path)


def test_models_that_are_others(made):
    other = Other(made[3])
    with answering(other) as url:
        other.shape = [-1, 3, 64, 64]
        with pytest.raises(GLSimError, match='another model: it takes pixels of shape .* not images of 3 x 32 x 40'):
            RemoteModel(url)
        other.shape = [-1, 3, -1, -1]
        encoder = ExportedEncoder(RemoteModel(url))
        pixels = np.zeros((2, 3, 32, 40), np.uint8)
        other.change = lambda outputs: {name: values[:1] for name, values in outputs.items()}
        with pytest.raises(GLSimError, match='does not give class_tokens for each of 2 images'):
            encoder.forward(pixels)
        other.change = lambda outputs: {}
        with pytest.raises(GLSimError, match='answers in a way that is not understood'):
            encoder.forward(pixels)


def test_a_busy_server_is_asked_again_and_one_that_stays_busy_is_away(made, monkeypatch):
    monkeypatch.setattr(http_client, '_PAUSE', 0.01)
    other = Other(made[3])
    with answering(other) as url:
        model = RemoteModel(url, patience=0.5)
        pixels, asked = np.zeros((1, 3, 32, 40), np.uint8), len(other.asked)
        other.busy = 3
        model(pixels)
        assert len(other.asked) == asked + 4
        other.busy = 10**9
        with pytest.raises(ServerAwayError, match='busy or away .the queue is full.: try again later'):
            model(pixels)


def test_a_server_that_is_away_is_one_sentence(made):
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        nobody = f'http://127.0.0.1:{silent.getsockname()[1]}'
        with pytest.raises(ServerAwayError, match=f'{nobody} cannot be reached .*refused.*: is it running'):
            RemoteModel(nobody)
        silent.listen()
        begin = time.monotonic()
        with pytest.raises(ServerAwayError, match='does not answer in time'):
            RemoteModel(nobody, timeout=0.1)
        assert time.monotonic() - begin < 20
    for wrong in ('gpu:8000', 'ftp://gpu', 'http://', 'http://me:you@gpu', 'http://gpu?x=1', 'http://[', 'http://a\nb'):
        with pytest.raises(GLSimError, match='is no address of a server'):
            HttpClient(wrong)


def test_what_a_client_does_not_do():
    def answer(method, path, headers, body):
        if path == '/moved':
            return 302, {'Location': 'http://evil.example/'}, b''
        if path == '/closed':
            return 200, {'Connection': 'close'}, b'{}'
        return 401, {}, json.dumps(dict(detail='a\nb' * 500)).encode()

    with answering(answer) as url:
        client = HttpClient(url, 'secret')
        with pytest.raises(RefusedError, match='status 302'):
            client.ask('GET', '/moved')
        for _ in range(2):
            assert client.ask('GET', '/closed').json() == {}
        with pytest.raises(RefusedError) as refusal:
            client.ask('GET', '/else')
        assert refusal.value.status == 401 and len(refusal.value.detail) <= 300 and '\n' not in str(refusal.value)


def test_names_in_a_repository(tmp_path):
    assert model_file(tmp_path, 'birds-2').relative_to(tmp_path).as_posix() == 'birds-2/1/model.onnx'
    for name in ('', '..', 'a/b', 'a b', '.hidden'):
        with pytest.raises(GLSimError, match='has a name of letters'):
            model_file(tmp_path, name)
