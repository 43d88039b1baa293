"""What the package ships beside its modules: configs, command lines and the index of its models."""

from difflib import get_close_matches
from pathlib import Path

from .errors import GLSimError

INDEX = 'model-index.yml'


def find_shipped_folder() -> Path:
    """The folder of ``configs``, ``tools`` and ``model-index.yml``: an installed package has them in its ``.mim``.

    Raises:
        GLSimError: If they are neither there nor in the root of a checkout.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / '.mim', package.parent):
        if (folder / INDEX).is_file() and (folder / 'configs').is_dir():
            return folder
    raise GLSimError(f'{INDEX} is not there; install the package again')


def list_configs() -> list[Path]:
    """Configs that the package ships, those that others only inherit from left out, in the order of their names."""
    configs = (find_shipped_folder() / 'configs').rglob('*.py')
    return sorted((path for path in configs if '_base_' not in path.parts), key=lambda path: (path.stem, path))


def find_config(name: str | Path) -> tuple[Path, str]:
    """Find a config by its path, or one that the package ships by its name.

    Args:
        name: Path of a file, or the name of a shipped config such as ``glsim_vit_cub``, with folders or without
            (``configs/glsim_vit_cub``). The suffix .py may be left out. A file at this path comes first.

    Returns:
        The file, and a sentence about a shipped config of the same name that was not taken, or an empty text.

    Raises:
        GLSimError: If there is none, with the names that are nearest, or if several shipped configs have the name.
    """
    given = Path(name).expanduser()
    local = next((path for path in (given, Path(f'{given}.py')) if path.is_file()), None)
    parts = _names(given)
    shipped = [] if given.is_absolute() else [path for path in list_configs() if _names(path)[-len(parts) :] == parts]
    if local is not None:
        same = any(path.samefile(local) for path in shipped)
        note = f'{local} is read; the package ships a config of the same name: {shipped[0]}' if shipped else ''
        return local, '' if same else note
    if not shipped:
        near = get_close_matches(given.name.removesuffix('.py'), [path.stem for path in list_configs()])
        fix = f'of the configs that the package ships, the nearest are {", ".join(near)}' if near else 'check the path'
        raise GLSimError(f'config file {name} does not exist; {fix}')
    if len(shipped) > 1:
        raise GLSimError(f'there are several configs {name}; give one of {", ".join(map(str, shipped))}')
    return shipped[0], ''


def _names(path: Path) -> tuple[str, ...]:
    """Folders and name of a config, its suffix left out."""
    return (*path.parts[:-1], path.name.removesuffix('.py'))
