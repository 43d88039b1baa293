"""Data sets of your own, listed in a table with a row per image."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine import fileio
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from ..errors import GLSimError, one_line
from ..images.photo_folders import EXCLUDED, LeftOut, check_patterns, is_excluded
from ..images.photos import is_address, join_written_path
from .annotation_files import read_csv
from .data_faults import are_fractions


@DATASETS.register_module()
class TableDataset(BaseDataset):
    """Images listed in a CSV or Parquet file: ``path,label[,split][,box]``.

    ``path`` is relative to ``data_root``, or absolute. ``label`` is the class, by name or number. ``split`` is any
    word; without the column, or with ``split=None``, all rows are taken. ``box`` is ``x0 y0 x1 y1`` in pixels of the
    photo, turned as its EXIF data says, or empty; several boxes are separated by ``;``. A Parquet file may have a list
    of numbers there.

    As in mmengine, ``test_mode=True`` marks a split for validation or tests, where no other image takes the place of
    one that cannot be read.

    The labels that occur anywhere in the file are the classes, sorted, by value if all are whole numbers; so each split
    numbers them alike. Give ``metainfo=dict(classes=...)`` to fix their order, or where the file lacks some; numbers
    are then positions in it, from 0.

    Samples have ``img_path``, ``gt_label`` and, with a column ``box``, ``gt_bboxes`` (n, 4) float32::

        TableDataset('mugs.csv', data_root='data/mugs', split='train')

    Args:
        ann_file: The table, relative to ``data_root`` or absolute: ``.parquet``, or ``.csv`` with a header, in UTF-8 or
            UTF-16, with commas, semicolons or tabs.
        data_root: Folder of the images.
        split: Rows to take. Defaults to None, all.
        exclude: Patterns of images to leave out, by their paths below ``data_root``; see
            :func:`~glsim_mm.images.photo_folders.check_patterns`. :attr:`left_out` counts them.
        ancestor_columns: Columns with groups above the class, the coarsest first, for hierarchical metrics.
        metainfo: Takes the place of what the file says.
        **kwargs: Further arguments of mmpretrain's :class:`BaseDataset`.

    Raises:
        GLSimError: If the file is not there, lacks a column or a split, has an image twice or a class with two groups,
            or a row has no path, a label outside the classes or an impossible box; file and line are named.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        split: str | None = None,
        ancestor_columns: Sequence[str] = (),
        metainfo: dict | None = None,
        exclude: str | Sequence[str] = (),
        **kwargs,
    ) -> None:
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        check_patterns(self.exclude)
        self.left_out = LeftOut()
        data_root = os.path.expanduser(str(data_root))
        self.table = join_written_path(data_root, str(ann_file))
        self.split = split
        self.ancestor_columns = tuple(ancestor_columns)
        self._rows = self._read_rows(data_root)
        found = self._read_classes((metainfo or {}).get('classes'))
        super().__init__('', metainfo={**found, **(metainfo or {})}, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Samples of the split in the order of the file; :meth:`full_init` calls it."""
        rows, self._rows = self._rows, {}  # not needed again
        label_of = _labels(self.CLASSES, [row['label'] for row in rows.values()])
        samples = []
        for number, row in rows.items():
            if row['label'] not in label_of:
                raise GLSimError(
                    f'line {number} of {self.table} has the label {row["label"]!r}, which is none of the '
                    f'{len(self.CLASSES)} classes; correct it, or the classes'
                )
            if self.split is None or row.get('split') == self.split:
                below = row['path'] if is_address(row['path']) else os.path.relpath(row['path'], self.data_root or '.')
                if is_excluded(below.replace(os.sep, '/'), self.exclude):
                    self.left_out.add(EXCLUDED, below)
                    continue
                sample = dict(img_path=row['path'], gt_label=label_of[row['label']])
                if 'box' in row:
                    sample['gt_bboxes'] = _parse_boxes(row['box'], number, self.table)
                samples.append(sample)
        if not samples and self.left_out:
            raise GLSimError(f'{self.table} has no image that exclude={self.exclude} leaves; correct the patterns')
        if not samples:
            known = sorted({str(row.get('split')) for row in rows.values()})
            raise GLSimError(
                f'{self.table} has no row of the split {self.split!r}; it has {", ".join(known) or "none"}'
            )
        return samples

    def extra_repr(self) -> list[str]:
        return [f'Table: \t{self.table}', f'Split: \t{self.split}']

    def _read_rows(self, folder: str) -> dict[int, dict[str, Any]]:
        """Read the rows by their line number, with the paths of the photos."""
        needed = ('path', 'label', *self.ancestor_columns, *(() if self.split is None else ('split',)))
        read = _read_parquet if self.table.endswith(('.parquet', '.pq')) else read_csv
        rows: dict[int, dict[str, Any]] = {}
        line_of: dict[str, int] = {}
        for number, row in read(self.table, needed):
            for name in ('path', 'label', *(() if self.split is None else ('split',))):
                row[name] = '' if row[name] is None else str(row[name]).strip()
            for name in ('path', 'label'):
                if not row[name]:
                    raise GLSimError(f'line {number} of {self.table} has no {name}; correct it')
            try:
                path = join_written_path(folder, row['path'])
            except GLSimError as error:
                raise GLSimError(f'line {number} of {self.table}: {error}') from error
            row['path'] = path if is_address(path) else os.path.normpath(path)  # spelled in one way
            if row['path'] in line_of:
                raise GLSimError(
                    f'{path} is in lines {line_of[row["path"]]} and {number} of {self.table}; an image belongs in it '
                    'once'
                )
            line_of[row['path']] = number
            rows[number] = row
        return rows

    def _read_classes(self, classes: Sequence[str] | None) -> dict:
        """Classes, unless they are given, and their ancestors."""
        found = [row['label'] for row in self._rows.values()]
        names = tuple(classes or sorted(set(found), key=int if all(map(_is_number, found)) else str))
        if not self.ancestor_columns:
            return dict(classes=names)
        label_of = _labels(names, found)
        groups: dict[int, tuple[str, ...]] = {}
        for number, row in self._rows.items():
            label, group = label_of.get(row['label'], -1), tuple(str(row[name]) for name in self.ancestor_columns)
            if groups.setdefault(label, group) != group:
                raise GLSimError(
                    f'line {number} of {self.table} puts {row["label"]} into {" / ".join(group)}, an earlier line into '
                    f'{" / ".join(groups[label])}; a class belongs in one'
                )
        return dict(classes=names, ancestors=tuple(groups.get(label, ()) for label in range(len(names))))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _labels(classes: Sequence[str], found: Sequence[str]) -> dict[str, int]:
    """Label of each class name, or of each position if the rows have numbers that are not names."""
    label_of = {name: label for label, name in enumerate(classes)}
    if any(name not in label_of for name in found) and all(_is_number(name) for name in found):
        return {name: int(name) for name in found if int(name) < len(classes)}
    return label_of


def _parse_boxes(value: Any, number: int, path: str) -> np.ndarray:
    """Parse the boxes of a cell, float32 (n, 4)."""
    try:
        if isinstance(value, str):
            parts = [part.replace(',', ' ').split() for part in value.split(';') if part.strip()]
        else:
            parts = [] if value is None else value
        boxes = np.array(parts, np.float32).reshape(-1, 4)
    except (ValueError, TypeError) as error:
        raise GLSimError(f'line {number} of {path} has the box {value!r}; write it as x0 y0 x1 y1') from error
    if are_fractions(boxes):
        raise GLSimError(
            f'line {number} of {path} has the box {value!r}, which is a fraction of the photo; write pixels, from 0 at '
            'the upper left corner of the upright photo'
        )
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise GLSimError(f'line {number} of {path} has the box {value!r}, whose end is not after its start; correct it')
    return boxes


def _read_parquet(path: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the rows of a Parquet file, numbered from 1."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise GLSimError(f'{path} is a Parquet file, which needs pyarrow: pip install pyarrow') from None
    if not fileio.isfile(path):
        raise GLSimError(f'{path} is not there; check ann_file and data_root')
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); it is damaged or not a Parquet file') from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise GLSimError(f'{path} has no column {missing[0]!r} (its columns: {", ".join(table.column_names)}); add it')
    wanted = [name for name in table.column_names if name in columns or name in ('split', 'box')]
    yield from enumerate(table.select(wanted).to_pylist(), start=1)
