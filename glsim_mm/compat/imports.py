"""Import mmpretrain without its noise, and say in one line what to install when that fails."""

import io
import warnings
from contextlib import redirect_stdout

from ..errors import one_line

_INSTALL_MMCV = 'pip install "glsim_mm[mmcv-lite]" (or install full mmcv, never both: they share one import name)'


def import_mmpretrain() -> None:
    """Import mmpretrain, or explain in one line what is missing.

    mmcv-lite warns on import that it lacks ``MultiScaleDeformableAttention``, although mmpretrain never uses mmcv's
    compiled operators (https://github.com/open-mmlab/mmcv/issues/1975). Expires when mmcv warns on use.

    The OneDL fork prints that it lacks OneDL's own package when its data sets are imported (``print_log`` without a
    logger prints at every level). Expires when onedl-mmpretrain logs it.

    Raises:
        ImportError: If mmpretrain or mmcv is missing, or their versions exclude each other.
    """
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
            import mmcv.cnn.bricks.transformer  # noqa: F401  (warns once, on its first import)
            import mmpretrain.datasets  # noqa: F401  (imported with glsim_mm anyway)
    except ModuleNotFoundError as error:
        raise ImportError(_explain_missing(error)) from error
    except AssertionError as error:  # mmpretrain and mmcv assert each other's versions on import
        raise ImportError(f'{one_line(error)} To mend it: {_INSTALL_MMCV}') from error


def _explain_missing(error: ModuleNotFoundError) -> str:
    """One line for a package that cannot be imported."""
    package = (error.name or '').partition('.')[0]
    if package == 'mmcv':
        return f'glsim_mm needs mmcv: {_INSTALL_MMCV}'
    if package == 'mmpretrain':
        return 'glsim_mm needs mmpretrain: pip install "mmpretrain>=1.2"'
    return f'mmpretrain cannot be imported, it needs {package or error}: pip install {package}'
