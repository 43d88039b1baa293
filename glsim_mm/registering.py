"""What OpenMMLab's own tools need to work with the models and checkpoints of this package."""

import mmpretrain.registry
from mmengine.registry import Registry

from .checkpoints.addresses import register_loaders
from .compat.old_calls import restore_find_loader, restore_in1d, silence_missing_programs

_REGISTERING = ('models', 'datasets', 'engine', 'evaluation')
"""Sub-packages with modules for mmpretrain's registries, each named as the one of mmpretrain that it adds to."""


def extend_mmpretrain() -> None:
    """Let mmpretrain's registries find our modules, and mmengine read checkpoints safely and in our layouts.

    The modules themselves are imported by mmengine when a name is looked up for the first time. May be repeated.
    """
    for registry in vars(mmpretrain.registry).values():
        if not isinstance(registry, Registry) or registry.scope != 'mmpretrain':
            continue
        # glsim_mm.models is added wherever mmengine would import mmpretrain.models, and so on.
        parts = {location.rpartition('.')[2] for location in registry._locations}
        ours = [f'glsim_mm.{part}' for part in _REGISTERING if part in parts]
        if not set(ours) <= set(registry._locations):
            registry._locations = [*registry._locations, *ours]
            registry._imported = False  # names may have been looked up before we came
    register_loaders()
    restore_in1d()
    restore_find_loader()
    silence_missing_programs()
