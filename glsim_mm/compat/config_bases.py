"""Configs that inherit from those of a package that mmengine does not know."""

from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config


def let_configs_inherit(package: str, find: Callable[[str], Path]) -> None:
    """Let ``_base_ = 'PACKAGE::NAME'`` in a config mean the file that ``find`` gives for NAME; may be repeated.

    mmengine 0.10.7 has such addresses for OpenMMLab's own packages alone, from a table in its code
    (https://github.com/open-mmlab/mmengine/blob/v0.10.7/mmengine/config/utils.py). Expires when other packages can
    enter themselves there.
    """
    before, prefix = Config._get_cfg_path, f'{package}::'
    if getattr(before, 'prefix', None) == prefix:
        return

    def get_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(prefix):
            return str(find(cfg_path.removeprefix(prefix))), None
        return before(cfg_path, filename)

    get_path.prefix = prefix  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_path)
