"""The model zoo in mmpretrain's hub."""

from pathlib import Path

import yaml
from mmpretrain.apis.model import ModelHub

from ..errors import GLSimError

INDEX, METAFILE = 'model-index.yml', 'configs/metafile.yml'


def find_model_index() -> Path:
    """Find ``model-index.yml``: an installed package has it in its folder ``.mim``, a checkout in its root.

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

    Returns their names. Calling it again changes nothing.
    """
    index = find_model_index()
    metafile = yaml.safe_load((index.parent / METAFILE).read_text(encoding='utf-8'))
    names = [model['Name'] for model in metafile['Models']]
    if not all(ModelHub.has(name.lower()) for name in names):
        ModelHub.register_model_index(index, config_prefix=index.parent)
    return names
