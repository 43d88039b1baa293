"""Values of config fields as they are written on a command line; needs no model stack.

They mean what they mean to mmengine's ``DictAction``, with three differences: blanks inside a text stay, dicts can be
given, and what cannot be read is refused.
"""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from .errors import GLSimError, one_line

_PAIRS = {')': '(', ']': '['}
_WORDS = {'true': True, 'false': False}


def parse_options(words: Sequence[str], option: str = '--cfg-options') -> dict[str, Any]:
    """Read ``NAME=VALUE`` words into values by name.

    Raises:
        GLSimError: If a word is no pair, or its value cannot be read.
    """
    found = {}
    for word in words:
        name, equals, text = word.partition('=')
        if not equals or not all(name.split('.')) or name != name.strip():
            raise GLSimError(f'{option} {word}: write it as NAME=VALUE, without blanks around the equals sign')
        try:
            found[name] = parse_value(text)
        except ValueError as error:
            raise GLSimError(f'{option} {word}: {error}') from error
    return found


def parse_value(text: str) -> Any:
    """Read a value: ``0.1``, ``true``, ``None``, ``1,2``, ``[(1,2),a]``, ``dict(type='A')``, or text.

    Raises:
        ValueError: If brackets do not match, or a dict is not written as in Python.
    """
    if '{' in text or 'dict(' in text:
        return _parse_python(text)
    text = text.strip().strip('\'"').strip()
    if text.startswith(('(', '[')) and _closes_at_end(text):
        values = [parse_value(part) for part in _split(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    if ',' in text:
        return [parse_value(part) for part in _split(text)]
    if text[:1] == '[':
        raise ValueError('brackets do not match; complete them')
    return _parse_word(text)


def parse_assignments(text: str) -> dict[str, Any]:
    """Values by name of a config's text as mmengine writes it, read without running it; ``...`` for other values."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    found = {}
    for one in statements:
        if isinstance(one, ast.Assign) and len(one.targets) == 1 and isinstance(one.targets[0], ast.Name):
            try:
                found[one.targets[0].id] = _evaluate(one.value)
            except ValueError:
                found[one.targets[0].id] = ...
    return found


def _parse_word(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None if text == 'None' else _WORDS.get(text.lower(), text)


def _depths(text: str) -> Iterator[tuple[int, str, int]]:
    """Place, character and number of brackets open behind it."""
    opened: list[str] = []
    for place, character in enumerate(text):
        if character in '([':
            opened.append(character)
        elif character in _PAIRS:
            if not opened or opened.pop() != _PAIRS[character]:
                raise ValueError('brackets do not match; complete them')
        yield place, character, len(opened)
    if opened:
        raise ValueError('brackets do not match; complete them')


def _closes_at_end(text: str) -> bool:
    """Whether the first bracket of a text is closed by its last character."""
    try:
        return next(place for place, _, depth in _depths(text) if depth == 0) == len(text) - 1
    except ValueError:
        if ',' in text:
            raise
        return False


def _split(text: str) -> list[str]:
    """The parts of a text between commas that are in no brackets; a comma at the end is none."""
    parts, start = [], 0
    for place, character, depth in _depths(text):
        if character == ',' and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]] if text[start:].strip() else parts


def _parse_python(text: str) -> Any:
    try:
        return _evaluate(ast.parse(text.strip(), mode='eval').body)
    except (SyntaxError, ValueError) as error:
        reason = one_line(getattr(error, 'msg', error))
        raise ValueError(
            f'it is no Python ({reason}); write for example "dict(type=\'SGD\', lr=0.1)", all of it in quotes'
        ) from error


def _evaluate(node: ast.expr) -> Any:
    """Plain values, and calls of dict; nothing is run."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        if all(keyword.arg for keyword in node.keywords):
            return {str(keyword.arg): _evaluate(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict) and all(node.keys):
        return {_evaluate(key): _evaluate(value) for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, ast.List):
        return [_evaluate(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_evaluate(item) for item in node.elts)
    return ast.literal_eval(node)
