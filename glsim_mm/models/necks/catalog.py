"""Short names of the region selectors that need no training of their own, for command lines and tables."""

from collections.abc import Sequence

from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from ...errors import GLSimError
from .region_selector import RegionSelector

SELECTORS = {
    'gls': dict(type='GLSimSelector', similarity='cos'),
    'gls-l1': dict(type='GLSimSelector', similarity='l1'),
    'gls-l2': dict(type='GLSimSelector', similarity='l2'),
    'class-attention': dict(type='ClassAttentionSelector'),
    'rollout': dict(type='RolloutSelector'),
    'psm': dict(type='PSMSelector'),
    'maws': dict(type='MAWSSelector'),
    'sacm': dict(type='SACMSelector'),
    'random': dict(type='RandomSelector'),
    'center': dict(type='CenterSelector'),
    'oracle': dict(type='OracleSelector'),
}


def check_selectors(names: Sequence[str]) -> None:
    """Refuse names that :data:`SELECTORS` does not have.

    Args:
        names: Short names.

    Raises:
        GLSimError: If there is none, or one is unknown.
    """
    unknown = [name for name in names if name not in SELECTORS]
    if unknown or not names:
        what = f'there is no selector {unknown[0]!r}' if unknown else 'no selector was named'
        raise GLSimError(f'{what}; choose from {", ".join(SELECTORS)}')


def build_selector(name: str, **settings) -> RegionSelector:
    """A selector by its short name.

    Args:
        name: A key of :data:`SELECTORS`.
        **settings: Arguments of :class:`RegionSelector`, for example ``top_o``.

    Returns:
        In evaluation mode.

    Raises:
        GLSimError: If the name is unknown.
    """
    check_selectors([name])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build({**SELECTORS[name], **settings}).eval()
