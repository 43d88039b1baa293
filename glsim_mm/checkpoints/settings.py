"""The command line that the authors save in their checkpoints as an ``argparse.Namespace``, without running code."""

from collections.abc import Mapping
from typing import Any

import torch

_SCALARS = (str, int, float, bool, type(None))


class AuthorsSettings:
    """Takes the place of ``argparse.Namespace`` while a checkpoint is read: keeps plain values and nothing else.

    Attributes:
        values (dict[str, Any]): Strings, numbers, None, and flat lists and tuples of them, by name.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        """Called by the unpickler with the namespace's attributes.

        Args:
            state: Whatever the file says the attributes are.
        """
        self.values = {}
        if isinstance(state, Mapping):
            for name, value in state.items():
                if isinstance(name, str) and _is_plain(value):
                    self.values[name] = str(value) if isinstance(value, torch.device) else value


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(type(item) in _SCALARS for item in value)
    return type(value) in _SCALARS or isinstance(value, torch.device)
