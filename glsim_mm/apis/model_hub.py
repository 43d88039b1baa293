"""The model zoo in mmpretrain's hub."""

from pathlib import Path

from mmpretrain.apis.model import ModelHub

from ..errors import GLSimError
from .model_zoo import METAFILE, read_metafile

INDEX = 'model-index.yml'


def find_model_index() -> Path:
    """The model index: of an installed package in its ``.mim`` folder, of a checkout in its root.

    Returns:
        ``model-index.yml``; the paths in it begin at its folder.

    Raises:
        GLSimError: If it is in neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / '.mim', package.parent):
        if (folder / INDEX).is_file() and (folder / METAFILE).is_file():
            return folder / INDEX
    raise GLSimError(f'{INDEX} is not there; install the package again')


def register_models() -> list[str]:
    """Make the models known to mmpretrain: ``mmpretrain.list_models('glsim*')``, ``get_model('glsim_vit_cub')``.

    Calling it again changes nothing.

    Returns:
        Names of the models.

    Raises:
        GLSimError: If the index is not there or its metafile is damaged.
    """
    index = find_model_index()
    names = [model.name for model in read_metafile(index.parent / METAFILE)]
    if not all(ModelHub.has(name.lower()) for name in names):
        ModelHub.register_model_index(index, config_prefix=index.parent)
    return names
