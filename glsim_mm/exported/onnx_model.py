"""Files of ``glsim export``: what they say about themselves, and how ONNX Runtime or OpenVINO run them."""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GLSimError, one_line
from ..images.decoding import WHITE

_OPENVINO_CHOOSES = ('AUTO', 'HETERO', 'MULTI')  # among several devices
METADATA_KEY = 'glsim_mm'
FORMAT_VERSION = 1
BACKENDS = ('onnxruntime', 'openvino')
Runner = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class ExportedInfo:
    """Everything that running an exported model takes besides its graph; lies in the file, as JSON.

    Attributes:
        description: What messages call the model.
        image_size: Height and width of the network input in pixels.
        steps: The test pipeline, see :class:`glsim_mm.exported.onnx_inferencer.ExportedPipeline`.
        outputs: Names of the graph's outputs: ``'logits'`` (B, K), ``'embedding'`` (B, D), ``'class_tokens'`` (B, V,
            C), ``'selected_boxes'`` (B, R, 4), ``'similarity_map'`` (B, h, w), ``'patches'`` (B, O, C),
            ``'patch_places'`` (B, O), ``'metric'`` (B, M).
        spaces: What a search can embed with it, the default first.
        classes: Names of its classes; empty where they are not known.
        fingerprint: Which model was exported, as galleries keep it.
        versions: Packages that wrote the file.
        is_quantized: Whether the weights have 8 bits; the fingerprint is still that of the exact model.
        background: Red, green and blue behind transparent pixels of a photo.
        metric: Of the output ``'metric'``, the gallery's ``space``, its ``source`` and ``fingerprint``.
    """

    description: str
    image_size: tuple[int, int]
    steps: list[dict[str, Any]]
    outputs: list[str]
    spaces: list[str]
    classes: list[str] = field(default_factory=list)
    fingerprint: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    is_quantized: bool = False
    background: Sequence[int] = WHITE
    metric: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text that :meth:`from_json` reads."""
        return json.dumps(dict(asdict(self), format_version=FORMAT_VERSION))

    @classmethod
    def from_json(cls, text: str | None, path: str) -> 'ExportedInfo':
        """Read what :meth:`to_json` wrote into the file at ``path`` under :data:`METADATA_KEY`.

        Raises:
            GLSimError: If there is none, or it is of another version.
        """
        try:
            content = json.loads(text or '')
        except json.JSONDecodeError:
            content = None
        if not isinstance(content, Mapping):
            raise GLSimError(f'{path} was not written by glsim export: export the model with it')
        if content.get('format_version') != FORMAT_VERSION:
            raise GLSimError(
                f'{path} has version {content.get("format_version")} of the format, this package reads '
                f'{FORMAT_VERSION}: export the model again'
            )
        names = {one.name for one in fields(cls)}
        try:
            info = cls(**{name: value for name, value in content.items() if name in names})
        except TypeError as error:
            raise GLSimError(f'{path} is damaged ({error}): export the model again') from error
        height, width = info.image_size
        return replace(info, image_size=(int(height), int(width)))


class ExportedModel:
    """Computes what a model computes, without the model's code; threads may share it.

    ::

        model = ExportedModel('model.onnx', threads=4)
        outputs = model(pixels)  # (B, 3, h, w) RGB, 0 to 255
        print(outputs['embedding'].shape, model.info.classes)

    Args:
        path: An ``.onnx`` file of ``glsim export``.
        backend: ``'onnxruntime'``, or ``'openvino'``, which is made for Intel's processors.
        device: ``'cpu'`` or ``'cuda'``; OpenVINO also knows names of its own, such as ``'GPU'``. Defaults to
            CUDA where ONNX Runtime has it, else the CPU.
        threads: Threads on the CPU. Defaults to all cores.
        shares_cores: Whether other threads want them too, as those of a server that decode photos. ONNX Runtime's own
            then sleep while they wait for each other, which costs a single photo some time on a machine of its own.

    Attributes:
        info: What the file says of itself.
        usual_batch: Images of a batch where many ask for one at a time.

    Raises:
        GLSimError: If the file is missing or no such file, or the backend is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        backend: str = 'onnxruntime',
        device: str | None = None,
        threads: int | None = None,
        shares_cores: bool = False,
    ) -> None:
        self.path = str(path)
        if backend not in BACKENDS:
            raise GLSimError(f'backend must be one of {", ".join(BACKENDS)}, got {backend!r}')
        if not Path(path).is_file():
            raise GLSimError(f'there is no file {path}: export a model with glsim export')
        if Path(path).suffix != '.onnx':
            raise GLSimError(f'{path} is no .onnx file: only these can be run without the model code')
        if backend == 'onnxruntime':
            self._run, self.info, on_gpu = _open_onnxruntime(self.path, device, threads, shares_cores)
        else:
            self._run, self.info, on_gpu = _open_openvino(self.path, device, threads)
        self.usual_batch = 64 if on_gpu else 16

    def __call__(self, pixels: np.ndarray, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs for a batch.

        Args:
            pixels: RGB values of 0 to 255, uint8 or float32, (B, 3, h, w) of :attr:`info`'s image size.
            outputs: Names of those that are wanted. Defaults to all.

        Returns:
            float32 arrays by name, see :class:`ExportedInfo`.

        Raises:
            GLSimError: If the shape is another.
        """
        if pixels.ndim != 4 or pixels.shape[1:] != (3, *self.info.image_size):
            height, width = self.info.image_size
            raise GLSimError(
                f'{self.path} takes images of shape (B, 3, {height}, {width}), got {pixels.shape}: size and scale are '
                'fixed by glsim export, so export the model again for others'
            )
        found = self._run(np.ascontiguousarray(pixels, dtype=np.float32))
        return found if outputs is None else {name: found[name] for name in outputs}


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``, told before it is loaded to send no statistics of its use to its makers.

    Version 1.32 does so on Linux too, and keeps a number of the machine in the user's cache. Who sets
    ``ORT_DISABLE_TELEMETRY`` themselves decides; ModuleNotFoundError where it is not installed.
    """
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
    import onnxruntime

    return onnxruntime


def _open_onnxruntime(
    path: str, device: str | None, threads: int | None, shares_cores: bool
) -> tuple[Runner, ExportedInfo, bool]:
    try:
        onnxruntime = import_onnxruntime()
    except ModuleNotFoundError:
        raise GLSimError('running .onnx files needs ONNX Runtime: pip install onnxruntime') from None
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    if shares_cores:
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    available = onnxruntime.get_available_providers()
    if device not in (None, 'cpu', 'cuda') or (device == 'cuda' and 'CUDAExecutionProvider' not in available):
        raise GLSimError(f'this ONNX Runtime cannot use {device!r}: leave it out, or pip install onnxruntime-gpu')
    wanted = ['CPUExecutionProvider'] if device == 'cpu' else ['CUDAExecutionProvider', 'CPUExecutionProvider']
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[name for name in wanted if name in available])
    except _errors_of(onnxruntime) as error:
        raise GLSimError(f'{path} cannot be opened ({one_line(error, 200)}): export the model again') from error
    metadata = session.get_modelmeta().custom_metadata_map
    names = [output.name for output in session.get_outputs()]
    source = session.get_inputs()[0].name
    info = ExportedInfo.from_json(metadata.get(METADATA_KEY), path)
    on_gpu = session.get_providers()[0] != 'CPUExecutionProvider'
    return (lambda pixels: dict(zip(names, session.run(names, {source: pixels})))), info, on_gpu


def _open_openvino(path: str, device: str | None, threads: int | None) -> tuple[Runner, ExportedInfo, bool]:
    try:
        import openvino
    except ModuleNotFoundError:
        raise GLSimError('backend openvino is not installed: pip install openvino') from None
    core = openvino.Core()
    wanted = (device or 'cpu').upper()
    if wanted.partition('.')[0] not in core.available_devices and wanted.partition(':')[0] not in _OPENVINO_CHOOSES:
        found = ', '.join(core.available_devices).lower()
        raise GLSimError(f'OpenVINO has no device {device!r} here: choose from {found}')
    # OpenVINO computes in bfloat16 where a processor has it unless told otherwise; that is not what was exported.
    options = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY'}
    if threads is not None:
        options['INFERENCE_NUM_THREADS'] = str(threads)
    try:
        model = core.read_model(path)
        compiled = core.compile_model(model, wanted, options)
    except RuntimeError as error:
        raise GLSimError(f'{path} cannot be opened ({one_line(error, 200)}): export the model again') from error
    names = [output.get_any_name() for output in compiled.outputs]
    section = model.get_rt_info(['framework', METADATA_KEY]) if model.has_rt_info(['framework', METADATA_KEY]) else None
    info = ExportedInfo.from_json(None if section is None else str(section.value), path)

    own = threading.local()  # an infer request serves one thread at a time, and calling the compiled model shares one

    def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
        if not hasattr(own, 'request'):
            own.request = compiled.create_infer_request()
        return dict(zip(names, own.request.infer([pixels]).values()))

    return run, info, not wanted.startswith('CPU')


def _errors_of(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """Its exceptions have no common class of their own."""
    state = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    own = [value for value in state if isinstance(value, type) and issubclass(value, Exception)]
    return (RuntimeError, ValueError, *own)
