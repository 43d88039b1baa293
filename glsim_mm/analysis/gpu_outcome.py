"""What checks of a GPU are given and what they say, and its two files: one for programs, one for people."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..output_files import write_file, write_json

PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'
JSON_FILE, MARKDOWN_FILE = 'gpu_check.json', 'gpu_check.md'
_WIDTH = 80


class Scope(NamedTuple):
    """Where and how much to check.

    Attributes:
        device: ``'cuda'`` or ``'cuda:1'``; ``'cpu'`` goes through the same checks on tiny models and indexes.
        quick: Smaller models and indexes, fewer rounds.
    """

    device: str
    quick: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether there is a second device to compare with the CPU."""
        return self.device.startswith('cuda')


class NotHereError(Exception):
    """A check does not fit this machine; the message is the reason."""


class CheckFailedError(Exception):
    """Numbers are not as they should be; the message says which."""


@dataclass
class Outcome:
    """What a check found.

    Attributes:
        name: Of the check.
        status: ``'passed'``, ``'failed'`` or ``'skipped'``.
        said: Sentences: what was found, or why it failed or was skipped.
        figures: Numbers and lists for programs.
        table: Rows for people, the first of them heads.
        seconds: How long it took.
        log: The last that its process wrote, where it failed.
    """

    name: str = ''
    status: str = PASSED
    said: str = ''
    figures: dict[str, Any] = field(default_factory=dict)
    table: list[list[str]] = field(default_factory=list)
    seconds: float = 0.0
    log: str = ''


def write_report(folder: Path, machine: Mapping[str, Any], scope: Scope, outcomes: Sequence[Outcome]) -> None:
    """Write both files, which are whole after each check, so that nothing is lost if this is stopped."""
    checks = [asdict(one) for one in outcomes]
    counts = {status: sum(one.status == status for one in outcomes) for status in (PASSED, FAILED, SKIPPED)}
    write_json(folder / JSON_FILE, dict(machine=machine, **scope._asdict(), counts=counts, checks=checks), indent=2)
    write_file(folder / MARKDOWN_FILE, format_report(machine, scope, outcomes))


def format_report(machine: Mapping[str, Any], scope: Scope, outcomes: Sequence[Outcome]) -> str:
    """The report in Markdown that a terminal of 80 columns shows too."""
    count = [f'{sum(one.status == status for one in outcomes)} {status}' for status in (PASSED, FAILED, SKIPPED)]
    parts = ['# GPU check', _wrap(f'{", ".join(count)}{" (--quick)" if scope.quick else ""}.')]
    if not scope.on_gpu:
        parts.append(
            _wrap(
                'This ran on the CPU: it compares the CPU with itself, which says that the checks work, and '
                'nothing about GPUs.'
            )
        )
    parts.append('\n'.join(_wrap(f'- {name}: {value}', '  ') for name, value in machine.items()))
    for one in outcomes:
        parts.append(f'## {one.name}: {one.status} ({one.seconds:.0f} s)')
        if one.said:
            parts.append(_wrap(_sentence(one.said)))
        if one.table:
            parts.append(_table(one.table))
        if one.log:
            parts.append(f'```text\n{one.log}\n```')
    return '\n\n'.join(parts) + '\n'


def format_outcome(one: Outcome) -> str:
    """A line for the terminal while checks run."""
    return _wrap(f'{one.status:<8}{one.name:<18}{one.seconds:4.0f} s  {one.said}', ' ' * 34)


def last_lines(text: str, count: int = 12) -> str:
    """The end of what a process wrote, for a report: without colours, in lines of at most 80 characters."""
    lines = re.sub(r'\x1b\[[0-9;]*m', '', text).replace('```', "'''").rstrip().splitlines()[-count:]
    return '\n'.join(line if len(line) <= _WIDTH else f'{line[: _WIDTH - 4]} ...' for line in lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ('' if text.endswith(('.', '!', '?')) else '.')


def _wrap(text: str, indent: str = '') -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Cells are padded, so that columns stand below each other in a terminal."""
    widths = [max(3, *map(len, column)) for column in zip(*rows)]
    lines = [rows[0], ['-' * width for width in widths], *rows[1:]]
    return '\n'.join(f'| {" | ".join(cell.ljust(width) for cell, width in zip(line, widths))} |' for line in lines)
