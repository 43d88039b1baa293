"""Messages of what the tools for galleries call name options as they are typed, not only as Python's arguments."""

import ast
import re
from pathlib import Path

from tiny_run import ROOT

TOOLS = [*(ROOT / 'tools' / 'retrieval').glob('*.py'), ROOT / 'tools' / 'command_line.py']
PACKAGES = [ROOT / 'retrieval', ROOT / 'glsim_mm' / 'search']
# Messages of arguments that command lines check themselves, or never give.
ONLY_PYTHON = (
    'must be',
    'writable',
    'margin must be',
    'takes either ids or a filter',
    'the filter is empty',
    'which the encoder was not told to make',
)


def test_options_are_named_as_they_are_typed():
    options = {name for tool in TOOLS for name in re.findall(r"'(--[a-z]+(?:-[a-z]+)*)'", tool.read_text())}
    arguments = {option[2:].replace('-', '_'): option for option in options}
    assert arguments['keep_patches'] == '--keep-patches'
    wrong, seen = [], 0
    for path in (path for package in PACKAGES for path in package.rglob('*.py')):
        for message in _messages(path):
            seen += 1
            if any(words in message for words in ONLY_PYTHON):
                continue
            wrong += [
                f'{path.name}: {name} in {message!r}'
                for name, option in arguments.items()
                if option not in message and _names(message, name)
            ]
    assert seen > 200 and not wrong


def _messages(path: Path) -> list[str]:
    """Texts of the exceptions that a file raises, without what they fill in."""
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise) and node.exc]
    texts = (
        [part.value for part in ast.walk(error) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        for error in raised
    )
    return [' '.join(text) for text in texts]


def _names(message: str, argument: str) -> bool:
    """Whether a message has a name that is Python's, with an underscore or a value of Python; label=Wren is a cell."""
    if '_' in argument:
        return bool(re.search(rf'(?<![\w.-]){argument}(?!\w)', message))
    return bool(re.search(rf"(?<![\w.-]){argument}=(?:True|False|['({{\[])", message))
