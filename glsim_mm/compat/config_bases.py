"""Configs that inherit from those that the package ships, wherever it is installed."""

from mmengine.config import Config

from ..shipped_files import find_shipped_config

PREFIX = 'glsim_mm::'


def let_configs_inherit_by_name() -> None:
    """Let ``_base_ = 'glsim_mm::glsim_vit_cub.py'`` in a config name one that the package ships; may be repeated.

    mmengine 0.10.7 has such addresses for OpenMMLab's own packages alone, from a table that it calls fixed
    (https://github.com/open-mmlab/mmengine/blob/v0.10.7/mmengine/config/utils.py). Expires when other packages can
    enter themselves there.
    """
    before = Config._get_cfg_path
    if getattr(before, 'knows_glsim_mm', False):
        return

    def get_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(find_shipped_config(cfg_path.removeprefix(PREFIX))), None
        return before(cfg_path, filename)

    get_path.knows_glsim_mm = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_path)
