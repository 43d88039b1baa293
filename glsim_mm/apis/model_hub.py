"""The model zoo in mmpretrain's hub."""

import yaml
from mmpretrain.apis.model import ModelHub

from ..shipped_files import INDEX, find_shipped_folder

METAFILE = 'configs/metafile.yml'


def register_models() -> list[str]:
    """Make the models known to mmpretrain: ``mmpretrain.list_models('glsim*')``, ``get_model('glsim_vit_cub')``.

    Returns their names. Calling it again changes nothing.
    """
    folder = find_shipped_folder()
    metafile = yaml.safe_load((folder / METAFILE).read_text(encoding='utf-8'))
    names = [model['Name'] for model in metafile['Models']]
    if not all(ModelHub.has(name.lower()) for name in names):
        ModelHub.register_model_index(folder / INDEX, config_prefix=folder)
    return names
