"""The files that an export writes: ONNX, and programs of ``torch.export`` for AOTInductor and ExecuTorch."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import GLSimError
from ..exported.onnx_model import METADATA_KEY, ExportedInfo, ExportedModel, import_onnxruntime
from ..version import __version__
from .export_graph import ExportGraph

_HINT = 'writing .onnx files needs more packages: pip install onnx onnxscript onnxruntime'
_OPSET = 20  # the first with affine grids and GELU of its own
_ANY_BATCH = ({0: torch.export.Dim('batch', min=1, max=65_536)},)


def write_onnx(graph: ExportGraph, example: Tensor, info: ExportedInfo, path: Path) -> None:
    """Write one graph with any batch size, the height and width of ``example`` (2, 3, H, W), and all weights inside.

    Raises:
        GLSimError: If a package is missing or the model is too large for one file.
    """
    _import_onnx()
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=_ANY_BATCH,
            input_names=['pixels'],
            output_names=list(graph.outputs),
            opset_version=_OPSET,
            verbose=False,
        )
    content = program.model_proto
    fold_transposes(content.graph)
    try:
        _save(content, info, path)
    except ValueError as error:  # protobuf ends at 2 GiB
        raise GLSimError('the weights are too large for one .onnx file: export to .pt2') from error


def quantize(path: Path, info: ExportedInfo) -> None:
    """Replace a file of :func:`write_onnx` by one whose matrix products have weights of 8 bits, one scale per channel.

    Activations are quantised while the model runs, so no images are needed for calibration. The patch embedding, a
    convolution, stays as it is.
    """
    onnx = _import_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic  # optional; _import_onnx says so if it is missing

    target = path.with_name(f'int8_{path.name}')
    with _quietly():
        quantize_dynamic(
            str(path),
            str(target),
            op_types_to_quantize=['MatMul', 'Gemm'],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    _save(onnx.load(str(target)), info, path)
    target.unlink()


def _save(content: Any, info: ExportedInfo, path: Path) -> None:
    """Write an ``onnx.ModelProto`` that says of itself what ``info`` says."""
    import onnx  # optional

    del content.metadata_props[:]
    entry = content.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, info.to_json()
    onnx.save(content, str(path))


def fold_transposes(graph: Any) -> None:
    """Transpose the weights of linear layers of an ``onnx.GraphProto`` once and for all, in place.

    The exporter leaves a ``Transpose`` before every product, behind which quantisation does not find the weights. Both
    passes share theirs.
    """
    from onnx import numpy_helper  # optional

    uses: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    for weight in list(graph.initializer):
        users = uses.get(weight.name, [])
        if len(weight.dims) != 2 or not users or any(node.op_type != 'Transpose' for node in users):
            continue
        turned = numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weight).T), weight.name)
        weight.CopyFrom(turned)
        for node in users:
            for user in uses.get(node.output[0], []):
                user.input[:] = [weight.name if name == node.output[0] else name for name in user.input]
            graph.node.remove(node)
    shapes = {value.name: value for value in graph.value_info}
    for weight in graph.initializer:
        if weight.name in shapes:  # of the weight as it was
            graph.value_info.remove(shapes[weight.name])


def run_onnx(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function from pixels to the outputs of a file, computed by ONNX Runtime on the CPU."""
    model = ExportedModel(path, device='cpu')
    return lambda pixels: {name: torch.from_numpy(value) for name, value in model(pixels.numpy()).items()}


def write_program(graph: ExportGraph, example: Tensor, info: ExportedInfo, path: Path) -> None:
    """Write a program of ``torch.export`` with any batch size, and the height and width of ``example``."""
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes=_ANY_BATCH)
    buffer = io.BytesIO()  # where torch writes to a file, a full disk is an error that names nothing
    torch.export.save(program, buffer, extra_files={METADATA_KEY: info.to_json()})
    path.write_bytes(buffer.getbuffer())


def run_program(path: Path, outputs: Sequence[str]) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function from pixels to the outputs of a file that this process has just written."""
    program = torch.export.load(str(path)).module()

    @torch.no_grad()
    def run(pixels: Tensor) -> dict[str, Tensor]:
        return dict(zip(outputs, program(pixels)))

    return run


def _import_onnx() -> Any:
    """The module ``onnx``; a :class:`GLSimError` unless everything that writing takes is installed."""
    try:
        import_onnxruntime()
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise GLSimError(_HINT) from None
    return onnx


def package_versions() -> dict[str, str]:
    """Versions of what takes part in an export."""
    found = {'glsim-mm': __version__}
    for name in ('torch', 'mmpretrain', 'timm', 'onnx', 'onnxscript', 'onnxruntime'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporters, which report every step."""
    loggers = [logging.getLogger(name) for name in ('onnxscript', 'onnx_ir', 'torch.onnx', '')]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for one, level in zip(loggers, levels):
            one.setLevel(level)
