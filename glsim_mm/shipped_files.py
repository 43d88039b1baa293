"""What the package ships beside its modules: configs, command lines and the index of its models."""

import ast
import re
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from .errors import GLSimError, explain_missing

INDEX = 'model-index.yml'
_PACKAGES = {'mmseg': 'mmsegmentation', 'mmaction': 'mmaction2'}  # where they are not called as their modules
_CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')  # what mmengine reads
_INHERITED = re.compile(r"""["'](mm\w+)::""")


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
        GLSimError: If there is none, with the names that are nearest, if several shipped configs have the name, or if
            the file is of another kind or inherits from a project that is not installed.
    """
    given = Path(name).expanduser()
    local = next((path for path in (given, Path(f'{given}.py')) if path.is_file()), None)
    shipped = _find_shipped(given)
    if local is not None:
        _check_config(local)
        same = any(path.samefile(local) for path in shipped)
        note = f'{local} is read; the package ships a config of the same name: {shipped[0]}' if shipped else ''
        return local, '' if same else note
    if not shipped and given.is_dir():
        raise GLSimError(f'{name} is a folder and no config file: look at the order of the arguments')
    path = find_shipped_config(given)
    _check_config(path)
    return path, ''


def find_shipped_config(name: str | Path) -> Path:
    """Find a config that the package ships by its name, or by its path below ``configs``.

    Raises:
        GLSimError: If there is none, with the names that are nearest, or if there are several.
    """
    given = Path(name)
    below = find_shipped_folder() / 'configs' / given
    found = [below] if below.is_file() else _find_shipped(given)
    if len(found) > 1:
        raise GLSimError(f'there are several configs {name}; give one of {", ".join(map(str, found))}')
    if found:
        return found[0]
    near = get_close_matches(given.name.removesuffix('.py'), [path.stem for path in list_configs()])
    if not near:
        raise GLSimError(explain_missing('config file', name))
    raise GLSimError(
        f'config file {name} does not exist; of the configs that the package ships, the nearest are {", ".join(near)}'
    )


def _find_shipped(given: Path) -> list[Path]:
    parts = _names(given)
    return [] if given.is_absolute() else [path for path in list_configs() if _names(path)[-len(parts) :] == parts]


def _names(path: Path) -> tuple[str, ...]:
    """Folders and name of a config, its suffix left out."""
    return (*path.parts[:-1], path.name.removesuffix('.py'))


def _check_config(path: Path) -> None:
    """Refuse what is no config, and one of a project that is not here, before anything heavy is imported."""
    if path.suffix not in _CONFIG_SUFFIXES:
        raise GLSimError(
            f'{path} is no config file, whose name ends in {", ".join(_CONFIG_SUFFIXES)}: look at the order of the '
            'arguments'
        )
    text = path.read_text(encoding='utf-8', errors='replace')
    projects = dict.fromkeys(_INHERITED.findall(text))
    missing = [name for name in projects if find_spec(name) is None]
    if missing:
        raise GLSimError(
            f'config file {path} inherits from {missing[0]}, which is not installed: pip install '
            f'{_PACKAGES.get(missing[0], missing[0])} (docs/guides/downstream.md has the versions)'
        )
    gone = next((base for base in _read_bases(text) if not Path(path.parent, base).is_file()), None)
    if gone is not None:
        _, is_shipped, name = gone.replace('\\', '/').rpartition('/_base_/')
        found = f"if the package has moved, write 'glsim_mm::_base_/{name}', which finds it"
        hint = found if is_shipped else 'check the path'
        raise GLSimError(f'config file {path} inherits from {gone}, which does not exist; {hint}')


def _read_bases(text: str) -> list[str]:
    """Files that a config in Python inherits from, as far as they stand in it as plain text; others are mmengine's."""
    try:
        assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        values = [ast.literal_eval(node.value) for node in assigned if ast.unparse(node.targets[0]) == '_base_']
    except (SyntaxError, ValueError):
        return []
    listed = [base for value in values for base in ([value] if isinstance(value, str) else value)]
    return [base for base in listed if '::' not in base and '{' not in base]
