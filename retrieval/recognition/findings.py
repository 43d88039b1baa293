"""What an audit and a guide to classes have found, as text, in types that JSON knows, and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..answers import one_line, shown_paths
from ..gallery.contract import GalleryReader
from ..names import pretty_name
from ..records import Record
from .audit import Audit, Conflict, HardPair, Outlier, Suspect
from .class_guide import ClassEntry, NearClass

LISTED = 20
_MEMBERS = 4
_KINDS = {
    'equal': 'the same file',
    'similar': 'nearly the same photo',
    'observation': 'the same individual',
}


def _read_records(gallery: GalleryReader, ids: Iterable[int]) -> dict[int, Record]:
    wanted = sorted(set(ids))
    return {record.id: record for record in gallery.records(wanted)} if wanted else {}


def _name(record: Record) -> str:
    return f'id {record.id}  {record.path}'.rstrip()


# -- audit -----------------------------------------------------------------------------------------------------------


def format_audit(found: Audit, gallery: GalleryReader, listed: int = LISTED) -> str:
    """An audit as text: what was looked at, and of each kind of finding the first ones, a line each."""
    suspects, outliers = found.suspects[:listed], found.outliers[:listed]
    known = _read_records(gallery, [*(one.id for one in suspects), *(one.id for one in outliers)])

    def name(row_id: int) -> str:
        return _name(known[row_id])

    blocks = [
        [describe_extent(found), *found.notes],
        _block(describe_suspects(found), [f'{name(one.id)}: {one.reason}' for one in suspects], len(found.suspects)),
        _block(
            describe_conflicts(found),
            [f'{describe_conflict(one)}: {_members(one)}' for one in found.conflicts[:listed]],
            len(found.conflicts),
        ),
        _block(
            describe_pairs(found),
            [f'{describe_pair_names(one)}: {describe_pair(one)}' for one in found.pairs[:listed]],
            len(found.pairs),
        ),
        _block(
            describe_outliers(found),
            [f'{name(one.id)}: {describe_outlier(one)}' for one in outliers],
            len(found.outliers),
        ),
    ]
    return '\n'.join(one_line(line) if line else line for block in blocks for line in block)


def _block(heading: str, lines: Sequence[str], count: int) -> list[str]:
    more = [f'  ... and {count - len(lines):,} more'] if count > len(lines) else []
    return ['', f'{heading}{":" if lines else "."}', *(f'  {line}' for line in lines), *more]


def describe_extent(found: Audit) -> str:
    """What was looked at."""
    text = f'{found.photos:,} photos, {found.labelled:,} with a label, {found.classes} classes'
    if found.accuracy is None:
        return f'{text}.'
    return f'{text}. The rest of the gallery agrees with {found.accuracy:.1%} of the {found.checked:,} labels checked.'


def describe_suspects(found: Audit) -> str:
    """How many labels are doubtful."""
    if not found.checked:
        return 'No label could be checked'
    share = f' ({len(found.suspects) / found.checked:.1%})' if found.suspects else ''
    return f'{_count(found.suspects, "label is", "labels are")} doubtful{share}'


def describe_conflicts(found: Audit) -> str:
    """How many groups of copies there are that do not agree."""
    return f'{_count(found.conflicts, "group of copies differs", "groups of copies differ")} in label or split'


def describe_pairs(found: Audit) -> str:
    """How many pairs of classes are like each other."""
    return f'{_count(found.pairs, "pair of classes is", "pairs of classes are")} hard to tell apart'


def describe_outliers(found: Audit) -> str:
    """How many odd photos there are."""
    return f'{_count(found.outliers, "photo is", "photos are")} unlike all others'


def _count(items: Sequence[object], one: str, several: str) -> str:
    return f'{len(items):,} {several}' if len(items) > 1 else f'{"1" if items else "No"} {one}'


def describe_conflict(conflict: Conflict) -> str:
    """What the photos of a group have in common, and what they do not."""
    return f'{_KINDS[conflict.kind]}, but another {" and another ".join(conflict.differ)}'


def _members(conflict: Conflict) -> str:
    shown = [f'{_name(record)} ({", ".join(_values(record, conflict))})' for record in conflict.records[:_MEMBERS]]
    rest = len(conflict.records) - len(shown)
    return '; '.join([*shown, *([f'{rest} more'] if rest else [])])


def _values(record: Record, conflict: Conflict) -> list[str]:
    values = {'label': record.label, 'split': record.split}
    return [str(values[name]) if values[name] is not None else f'no {name}' for name in conflict.differ]


def describe_pair_names(pair: HardPair) -> str:
    """Both classes."""
    return f'{pretty_name(pair.first)} and {pretty_name(pair.second)}'


def describe_pair(pair: HardPair) -> str:
    """How badly two classes are told apart."""
    verdict = 'this gallery cannot tell them apart' if pair.is_chance else 'hardly told apart'
    return f'{verdict}: between these two, {pair.accuracy:.0%} are right, and guessing gives 50%'


def describe_outlier(outlier: Outlier) -> str:
    """How far an odd photo is from all others."""
    return f'{outlier.distance:.1f} times as far from the nearest class as is usual'


def audit_to_json(found: Audit, gallery: GalleryReader) -> dict[str, Any]:
    """An audit in types that JSON knows; rows have their id and path."""
    known = _read_records(gallery, [*(one.id for one in found.suspects), *(one.id for one in found.outliers)])
    rows = [*known.values(), *(record for one in found.conflicts for record in one.records)]
    paths = dict(zip([row.id for row in rows], shown_paths([row.path for row in rows])))

    def suspect(one: Suspect) -> dict[str, Any]:
        listed = [dict(label=label, share=share) for label, share in one.suggestions]
        return {**asdict(one), 'path': paths[one.id], 'suggestions': listed}

    return dict(
        photos=found.photos,
        labelled=found.labelled,
        classes=found.classes,
        checked=found.checked,
        accuracy=found.accuracy,
        notes=found.notes,
        suspects=[suspect(one) for one in found.suspects],
        conflicts=[
            dict(
                kind=one.kind,
                differ=list(one.differ),
                rows=[
                    dict(id=record.id, path=paths[record.id], label=record.label, split=record.split)
                    for record in one.records
                ],
            )
            for one in found.conflicts
        ],
        pairs=[{**asdict(one), 'photos': list(one.photos), 'wrong': list(one.wrong)} for one in found.pairs],
        outliers=[{**asdict(one), 'path': paths[one.id]} for one in found.outliers],
    )


def audit_to_table(found: Audit, gallery: GalleryReader) -> str:
    """The doubtful labels as a CSV table that ``glsim label GALLERY --table FILE`` applies, the most doubtful first.

    It has columns ``id``, ``path`` and ``label``, which is the likeliest other one. Whoever goes through it takes out
    the lines of labels that are right, and corrects suggestions. A path that a table cannot hold is left out.
    """
    known = _read_records(gallery, [one.id for one in found.suspects])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('id', 'path', 'label'))
    for one in found.suspects:
        path = known[one.id].path
        is_plain = path == path.strip() and path.isprintable()
        writer.writerow((one.id, path if is_plain else '', one.suggestions[0][0]))
    return text.getvalue()


# -- guide -----------------------------------------------------------------------------------------------------------


def format_guide(guide: Mapping[str, ClassEntry], gallery: GalleryReader) -> str:
    """A guide as text: for each class its typical photos, and what it may be taken for."""
    known = _read_records(gallery, [row for entry in guide.values() for row in entry.prototypes[:1]])
    lines = []
    for entry in guide.values():
        lines.append(f'{pretty_name(entry.label)}: {describe_entry(entry)}')
        lines += [f'  typical: {_name(known[row])}' for row in entry.prototypes[:1]]
        lines += [f'  like {pretty_name(near.label)}: {describe_near(near)}' for near in entry.nearest]
    return '\n'.join(map(one_line, lines)) or 'no photo has a label'


def describe_entry(entry: ClassEntry) -> str:
    """How many photos a class has, and how many are recognised."""
    count = f'{entry.count:,} photo{"" if entry.count == 1 else "s"}'
    return count if entry.recognised is None else f'{count}, {entry.recognised:.0%} recognised when left out'


def describe_near(near: NearClass) -> str:
    """How alike two classes are, and how often the first is taken for the second."""
    taken = '' if near.confused is None else f', {near.confused:.0%} of the photos are taken for it'
    return f'similarity {near.similarity:.2f}{taken}'


def guide_to_json(guide: Mapping[str, ClassEntry], gallery: GalleryReader) -> list[dict[str, Any]]:
    """A guide in types that JSON knows; photos have their id and path."""
    wanted = [[*entry.prototypes, *(row for near in entry.nearest for row in near.pair)] for entry in guide.values()]
    known = _read_records(gallery, [row for rows in wanted for row in rows])
    paths = dict(zip(known, shown_paths([record.path for record in known.values()])))

    def photo(row: int) -> dict[str, Any]:
        return dict(id=row, path=paths[row])

    return [
        dict(
            label=entry.label,
            name=pretty_name(entry.label),
            count=entry.count,
            recognised=entry.recognised,
            prototypes=[photo(row) for row in entry.prototypes],
            nearest=[
                {**asdict(near), 'name': pretty_name(near.label), 'pair': [photo(row) for row in near.pair]}
                for near in entry.nearest
            ],
        )
        for entry in guide.values()
    ]
