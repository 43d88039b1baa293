"""Reading and writing weights of other projects; importing this package registers their schemes with mmengine."""

from . import schemes
from .sources import SCHEMES

__all__ = ['SCHEMES', 'schemes']
