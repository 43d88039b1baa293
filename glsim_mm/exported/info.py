"""What an exported file says about itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import GLSimError

METADATA_KEY = 'glsim_mm'
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ExportedInfo:
    """Everything that running an exported model takes besides its graph; lies in the file, as JSON.

    Attributes:
        description: What messages call the model.
        image_size: Height and width of the network input in pixels.
        steps: The test pipeline, see :class:`glsim_mm.exported.preparation.ExportedPipeline`.
        outputs: Names of the graph's outputs: ``'logits'`` (B, K), ``'embedding'`` (B, D), ``'class_tokens'`` (B, V,
            C), ``'selected_boxes'`` (B, R, 4), ``'similarity_map'`` (B, h, w).
        spaces: What a search can embed with it, the default first.
        classes: Names of its classes; empty where they are not known.
        fingerprint: Of the model that was exported, as galleries keep it.
        versions: Packages that wrote the file.
        is_quantized: Whether the weights have 8 bits; the fingerprint is still that of the exact model.
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

    def to_json(self) -> str:
        """As text."""
        return json.dumps(dict(asdict(self), format_version=FORMAT_VERSION), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, path: str) -> 'ExportedInfo':
        """Read what :meth:`to_json` wrote.

        Args:
            text: What the file has under :data:`METADATA_KEY`.
            path: The file, for messages.

        Returns:
            As written.

        Raises:
            GLSimError: If there is none, or it is of another version.
        """
        try:
            content = json.loads(text or '')
        except json.JSONDecodeError:
            content = None
        if not isinstance(content, Mapping):
            raise GLSimError(f'{path} was not written by tools/export.py: export the model with it')
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
        return cls(**dict(info.__dict__, image_size=(int(height), int(width))))
