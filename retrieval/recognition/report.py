"""What was recognised, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..answers import name_of
from .calibration import LevelCalibration
from .duplicates import DuplicateGroup
from .recognizer import Recognition

UNKNOWN = 'unknown'


def format_recognition(path: str, recognition: Recognition) -> str:
    """One line: image, answer, confidence, and the classes that had votes.

    Args:
        path: Of the image.
        recognition: Of the image.

    Returns:
        For example ``a.jpg: Wren (0.71); votes: Wren 0.90, Robin 0.10``; a group has ``group`` before it.
    """
    votes = ', '.join(f'{candidate.label} {candidate.share:.2f}' for candidate in recognition.candidates[:3])
    answer = UNKNOWN if recognition.label is None else recognition.label
    kind = 'group ' if recognition.level > 0 else ''
    return f'{path}: {kind}{answer} ({recognition.confidence:.2f}); votes: {votes or "none"}'


def recognition_to_json(path: str, recognition: Recognition) -> dict[str, Any]:
    """A recognition in types that JSON knows.

    Args:
        path: Of the image.
        recognition: Of the image.

    Returns:
        ``path``, and the fields of the recognition; ``label`` is None for unknown.
    """
    candidates = [dict(label=one.label, share=one.share, similarity=one.similarity) for one in recognition.candidates]
    return dict(
        path=path,
        label=recognition.label,
        level=recognition.level,
        groups=list(recognition.path[:-1]),
        confidence=recognition.confidence,
        candidates=candidates,
        neighbors=recognition.neighbors,
    )


def format_calibration(levels: Sequence[LevelCalibration]) -> str:
    """A line for each level.

    Args:
        levels: See :func:`retrieval.recognition.calibrate`.

    Returns:
        Several lines.
    """
    return '\n'.join(
        f'level {one.level}: threshold {one.threshold:.4f}, AUROC {one.auroc:.4f} on held-out classes; called unknown '
        f'are {one.false_unknown_rate:.1%} of {one.known} known and {one.true_unknown_rate:.1%} of {one.unknown} '
        'unknown images'
        for one in levels
    )


def format_duplicates(groups: Sequence[DuplicateGroup]) -> str:
    """A block for each group: its kind, then id and path of each image.

    Args:
        groups: See :func:`retrieval.recognition.find_duplicates`.

    Returns:
        Several lines, the last of which counts.
    """
    blocks = [
        '\n'.join([f'{group.kind}:', *(f'  {record.id}  {name_of(record)}' for record in group.records)])
        for group in groups
    ]
    spare = sum(len(group.records) - 1 for group in groups if group.kind == 'equal')
    similar = sum(group.kind == 'similar' for group in groups)
    last = (
        f'{len(groups) - similar} groups of equal files with {spare} spare copies, {similar} groups of similar images'
    )
    return '\n'.join([*blocks, last])


def duplicates_to_json(groups: Sequence[DuplicateGroup]) -> list[dict[str, Any]]:
    """Groups in types that JSON knows.

    Args:
        groups: See :func:`retrieval.recognition.find_duplicates`.

    Returns:
        Each with ``kind``, ``ids`` and ``paths``.
    """
    return [
        dict(
            kind=group.kind,
            ids=[int(record.id) for record in group.records],
            paths=[record.path for record in group.records],
        )
        for group in groups
    ]
