"""Measurements as a table and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .kinds import KindResult
from .overhead import Overhead

_KINDS = (
    'preset', 'build s', 'looks at', 'recall@10', 'without re-scoring', '1 query ms', 'batch queries/s', 'peak MiB',
    'file MiB', 'open ms', 'opened MiB',
)  # fmt: skip
_OVERHEADS = ('preset', 'queries at a time', 'FAISS ms', 'engine ms', 'ratio', 'added ms')


def format_kinds(results: Sequence[KindResult]) -> str:
    """Kinds of index as a Markdown table.

    Args:
        results: At least one.

    Returns:
        Several lines.
    """
    return _table(
        _KINDS,
        [
            [
                f'`{one.preset}`', f'{one.build_seconds:.0f}', one.effort or 'all rows', f'{one.recall:.3f}',
                f'{one.recall_raw:.3f}', f'{one.single_ms:.2f}', f'{one.batch_qps:,.0f}', f'{one.build_mib:,.0f}',
                f'{one.disk_mib:,.0f}', f'{one.open_ms:.1f}', f'{one.open_mib:.1f}',
            ]
            for one in results
        ],
    )  # fmt: skip


def format_overheads(results: Sequence[Overhead]) -> str:
    """Cost of the engine as a Markdown table.

    Args:
        results: At least one.

    Returns:
        Several lines.
    """
    return _table(
        _OVERHEADS,
        [
            [
                f'`{one.preset}`', str(one.batch), f'{one.faiss_ms:.2f}', f'{one.engine_ms:.2f}', f'{one.ratio:.3f}',
                f'{one.engine_ms - one.faiss_ms:.2f}',
            ]
            for one in results
        ],
    )  # fmt: skip


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ['---'] * len(heads), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def save(path: Path, kinds: Sequence[KindResult], overheads: Sequence[Overhead], facts: dict[str, str]) -> None:
    """Write all measurements; called after each, so that an interruption loses one.

    Args:
        path: JSON file.
        kinds: So far.
        overheads: So far.
        facts: Versions and machine.
    """
    content = dict(facts=facts, kinds=[asdict(one) for one in kinds], overheads=[asdict(one) for one in overheads])
    path.write_text(json.dumps(content, indent=1), encoding='utf-8')
