"""The test pipeline of a config, from decoded photos to network inputs, with the way back to pixels of the photo."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS
from torch import Tensor

from glsim_mm.apis.pipeline_geometry import photo_from_input
from retrieval.errors import RetrievalError

_LOADERS = ('LoadImage', 'LoadImageFromFile')
_PACKERS = ('PackInputs',)
_DATALOADERS = ('test_dataloader', 'val_dataloader')
_MAX_SHAPES = 65_536

Step = Mapping[str, Any]


class TestPipeline:
    """Prepares photos as a model is tested.

    Args:
        steps: Configs of the transforms; those that load files are left out.
        scope: Where their names are looked up.
    """

    __test__ = False  # pytest would collect it by its name

    def __init__(self, steps: Sequence[Step], scope: str = 'mmpretrain') -> None:
        self.steps = [dict(step) for step in steps if not type_name(step).endswith(_LOADERS)]
        with DefaultScope.overwrite_default_scope(scope):
            self._compose = Compose([TRANSFORMS.build(dict(step)) for step in self.steps])
        self._moving = [step for step in self._compose.transforms if not type(step).__name__.endswith(_PACKERS)]
        self._matrices: dict[tuple[int, int], np.ndarray | None] = {}

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Network input of a photo.

        Args:
            pixels: (H, W, 3) uint8 BGR.

        Returns:
            (3, h, w), not normalised yet.
        """
        shape = pixels.shape[:2]
        return self._compose(dict(img=pixels, img_shape=shape, ori_shape=shape))['inputs']

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray | None:
        """The map from pixels of the network input to pixels of a photo of (height, width) ``shape``.

        Remembered for photos of one shape; see :func:`glsim_mm.apis.pipeline_geometry.photo_from_input`.
        """
        if shape not in self._matrices:
            if len(self._matrices) >= _MAX_SHAPES:
                self._matrices.clear()
            self._matrices[shape] = photo_from_input(self._moving, shape)
        return self._matrices[shape]


def find_test_steps(cfg: Config) -> list[Step]:
    """Transforms with which a config tests.

    Args:
        cfg: With ``test_dataloader`` or ``val_dataloader``, or the name ``test_pipeline``.

    Returns:
        Their configs.

    Raises:
        RetrievalError: If there are none.
    """
    for name in _DATALOADERS:
        steps = _find_pipeline((cfg.get(name) or {}).get('dataset'))
        if steps:
            return list(steps)
    if cfg.get('test_pipeline'):
        return list(cfg.test_pipeline)
    raise RetrievalError('the config has no test pipeline: give it a test_dataloader, or the field test_pipeline')


def type_name(step: Step) -> str:
    """Name of a transform, given as name or class."""
    return step['type'] if isinstance(step['type'], str) else step['type'].__name__


def _find_pipeline(dataset: Any) -> Sequence[Step] | None:
    """Pipeline of a data set's config, also of one inside others."""
    if not isinstance(dataset, Mapping):
        return None
    if dataset.get('pipeline'):
        return dataset['pipeline']
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    return next((steps for steps in map(_find_pipeline, inner) if steps), None)
