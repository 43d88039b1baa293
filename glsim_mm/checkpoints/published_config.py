"""What the files beside published weights say of a model: ``config.json`` of transformers, ``open_clip_config.json``.

Light: a search by text looks here before anything is loaded.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import GLSimError, one_line

TRANSFORMERS, OPEN_CLIP = 'transformers', 'open_clip'
_CONFIGS = {TRANSFORMERS: 'config.json', OPEN_CLIP: 'open_clip_config.json'}
_PREPARATION = 'preprocessor_config.json'
_BESIDE = ('*.json', '*.txt', '*.model')
# Of each repository the first kind that it has.
_WEIGHTS = (
    ('model*.safetensors', 'open_clip_model.safetensors'),
    ('pytorch_model*.bin', 'open_clip_pytorch_model.bin'),
)
_TWO_TOWERS = ('clip', 'siglip', 'siglip2')
_ACTIVATIONS = {'gelu_pytorch_tanh': 'gelu_tanh', 'quick_gelu': 'quick_gelu', 'gelu': 'gelu', 'silu': 'silu'}
_INTERPOLATIONS = {0: 'nearest', 1: 'lanczos', 2: 'bilinear', 3: 'bicubic', 4: 'box', 5: 'hamming'}  # Pillow's numbers


class PublishedModel(NamedTuple):
    """An image encoder as its publishers describe it; None and empty for what they do not say.

    Attributes:
        library: Whose files they are, :data:`TRANSFORMERS` or :data:`OPEN_CLIP`.
        kind: ``model_type`` of transformers, such as ``'dinov2'``.
        has_text: Whether a text tower belongs to it.
        num_heads: Heads of the image encoder's attention.
        activation: Of its MLPs, as timm calls it.
        image_size: Height and width of the network input in pixels.
        preparation: ``resize``, ``resized``, ``interpolation``, ``mean`` and ``std``, as
            :class:`glsim_mm.search.pretrained_settings.FrozenSettings` has them.
    """

    library: str
    kind: str
    has_text: bool
    num_heads: int | None
    activation: str | None
    image_size: tuple[int, int] | None
    preparation: dict[str, Any]


def read_published_model(weights: str | Path) -> PublishedModel | None:
    """What stands beside a file of weights, or in their folder; None if there is nothing.

    Raises:
        GLSimError: If a file is damaged.
    """
    path = Path(weights).expanduser()
    folder = path if path.is_dir() else path.parent
    if (folder / _CONFIGS[OPEN_CLIP]).is_file() and (path.is_dir() or path.name.startswith('open_clip_')):
        return _of_open_clip(_read_json(folder / _CONFIGS[OPEN_CLIP]))
    if (folder / _CONFIGS[TRANSFORMERS]).is_file():
        config = _read_json(folder / _CONFIGS[TRANSFORMERS])
        if 'model_type' in config:  # timm's repositories have a config.json of their own
            preparation = folder / _PREPARATION
            return _of_transformers(config, _read_json(preparation) if preparation.is_file() else {})
    return None


def local_weights(address: str) -> Path | None:
    """File or folder of weights at an address; fetched where it is a name of Hugging Face's hub. None of others.

    Raises:
        GLSimError: If the hub has no such name, or cannot be reached.
    """
    scheme, separator, target = address.partition('://')
    if not separator:
        return Path(address).expanduser()
    path = Path(target).expanduser()
    if target and path.exists():
        return path
    return fetch_from_hub(target) if scheme == 'hf' else None


def fetch_from_hub(name: str) -> Path:
    """Folder with the weights of a model of Hugging Face's hub and what stands beside them, from its cache or the hub.

    Raises:
        GLSimError: If it cannot be had, or has no weights.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import HfHubHTTPError

    error: Exception | None = None
    for local in (True, False):
        for weights in _WEIGHTS:
            try:
                folder = Path(snapshot_download(name, allow_patterns=[*_BESIDE, *weights], local_files_only=local))
            except (OSError, HFValidationError, HfHubHTTPError) as problem:
                error = problem
                break
            if any(any(folder.glob(pattern)) for pattern in weights):
                return folder
    reason = one_line(error, 100) if error else 'it has no weights'
    raise GLSimError(
        f'hf://{name} is neither a file nor a folder, not in the cache, and cannot be fetched ({reason}); check name '
        'and connection, or get its files by other means and give the path of their folder'
    )


def _of_transformers(config: Mapping[str, Any], preparation: Mapping[str, Any]) -> PublishedModel:
    vision = config.get('vision_config') or config
    kind = str(config['model_type']).removesuffix('_vision_model')
    size, prepared = _prepared(preparation)
    if size is None and vision.get('image_size'):
        size = _pair(vision['image_size'])
    heads, activation = vision.get('num_attention_heads'), vision.get('hidden_act', 'gelu')
    if kind in _TWO_TOWERS:  # of which files leave out what is the default of transformers' class
        heads = heads or 12
        activation = vision.get('hidden_act', 'quick_gelu' if kind == 'clip' else 'gelu_pytorch_tanh')
    elif activation in ('gelu', 'silu'):  # the model's own
        activation = None
    return PublishedModel(
        TRANSFORMERS,
        kind,
        kind in _TWO_TOWERS and 'text_config' in config,
        heads,
        _ACTIVATIONS.get(activation, activation),
        size,
        prepared,
    )


def _prepared(values: Mapping[str, Any]) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """Network input and preparation that a processor of transformers describes."""
    size: Any = values.get('size')
    crop = values.get('crop_size')
    if not values.get('image_mean') or not isinstance(size, (dict, int)):
        return None, {}
    prepared: dict[str, Any] = dict(
        interpolation=_INTERPOLATIONS.get(values.get('resample', 3), 'bicubic'),
        mean=tuple(values['image_mean']),
        std=tuple(values['image_std']),
    )
    edge = size if isinstance(size, int) else size.get('shortest_edge')
    if edge is not None:
        resized = (int(edge), int(edge))
        kept = _pair(crop) if crop and values.get('do_center_crop', True) else resized
        return kept, dict(prepared, resize='crop', resized=resized)
    if not isinstance(size, dict) or 'height' not in size:  # SigLIP 2 of any aspect ratio
        return None, prepared
    kept = _pair(size)
    return kept, dict(prepared, resize='squash', resized=kept)


def _of_open_clip(config: Mapping[str, Any]) -> PublishedModel:
    model, preparation = config.get('model_cfg') or {}, config.get('preprocess_cfg') or {}
    vision = model.get('vision_cfg') or {}
    width, is_timm = vision.get('width', 768), 'timm_model_name' in vision
    size = _pair(preparation.get('size') or vision.get('image_size') or 224)
    prepared: dict[str, Any] = dict(
        resize='squash' if preparation.get('resize_mode') == 'squash' else 'crop',
        resized=size,
        interpolation=preparation.get('interpolation', 'bicubic'),
        mean=tuple(preparation.get('mean') or (0.48145466, 0.4578275, 0.40821073)),
        std=tuple(preparation.get('std') or (0.26862954, 0.26130258, 0.27577711)),
    )
    heads = None if is_timm else width // vision.get('head_width', 64)
    activation = None if is_timm else 'quick_gelu' if model.get('quick_gelu') else 'gelu'
    return PublishedModel(OPEN_CLIP, 'clip', bool(model.get('text_cfg')), heads, activation, size, prepared)


def _pair(size: Any) -> tuple[int, int]:
    """Height and width."""
    if isinstance(size, Mapping):
        return int(size['height']), int(size['width'])
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[1])
    return int(size), int(size)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise GLSimError(f'{path} cannot be read ({error}); get the file again') from error
    return content if isinstance(content, dict) else {}
