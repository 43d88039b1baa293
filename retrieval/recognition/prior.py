"""What place and season say of a class, by counts of where and when each class was seen, and Bayes' rule."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..text_tables import TextTable, parse_table, read_bytes
from .class_names import ClassIndex
from .places import Grid, Taken, read_grid
from .settings import TUNE, PriorSettings, Settings

_COLUMNS = ('class', 'cell', 'month', 'count')
_MONTHS = {text: month for month in range(1, 13) for text in (str(month), f'{month:02}')}


class Prior:
    """Counts of classes by place and month, read once for any gallery; :class:`Recognizer` takes it.

    The columns of the table are ``class``, ``count``, and ``cell`` or ``month`` or both. A cell is one of a grid in
    degrees (:class:`DegreeGrid`) or of H3 (:class:`H3Grid`); without cells, the counts hold for all places that are
    asked about, as those of one county do. A month is 1 to 12. Lines of the same class, cell and month add up.

    Example:
        >>> recognizer = Recognizer(gallery, prior=Prior.from_csv('counts.csv'))
        >>> recognizer.recognize(embeddings, taken=[Taken.read(28.2, -177.4, '2024-05-01')] * len(embeddings))

    Args:
        table: Header and lines.
        name: What messages call it.
        weight: Of the logarithm of the prior, in place of the one that was tuned; 0 leaves answers as they are.

    Raises:
        RetrievalError: If columns are missing, or a cell, a month or a count is impossible.
    """

    def __init__(self, table: TextTable, name: str = 'the table', weight: float | None = None) -> None:
        if weight is not None and not (math.isfinite(weight) and weight >= 0):
            raise RetrievalError(f'the weight of the prior must be 0 or more, not {weight}')
        self.name, self.weight = name, weight
        places = _find_columns(table, name)
        cells, texts = dict[str, int](), dict[str, int]()
        rows, counts = [], []
        for number, row in table.rows:
            try:
                rows.append(
                    (
                        texts.setdefault(_field(row, places, 'class'), len(texts)),
                        cells.setdefault(_field(row, places, 'cell'), len(cells)) if 'cell' in places else -1,
                        _read_month(_field(row, places, 'month')) if 'month' in places else 0,
                    )
                )
                counts.append(_read_count(_field(row, places, 'count')))
            except RetrievalError as error:
                raise RetrievalError(f'{name}, line {number}: {error}') from error
        self.classes = list(texts)
        self.counts = np.array(counts, np.float64)
        if not self.counts.any():
            raise RetrievalError(f'{name} has no count above 0')
        self.has_months = 'month' in places
        self.grid: Grid | None = None
        own = np.array(rows, np.int64)
        self.cells: dict[str, int] = {}
        if cells:
            try:
                self.grid, names = read_grid(cells)
            except RetrievalError as error:
                raise RetrievalError(f'{name}: {error}') from error
            renumbered = np.array([self.cells.setdefault(one, len(self.cells)) for one in names])
            own[:, 1] = renumbered[own[:, 1]]
        order = np.argsort(own[:, 1], kind='stable')
        self.counts, own = self.counts[order], own[order]
        self.codes, self.places, self.months = own.T
        called = json.dumps([self.classes, list(self.cells)]).encode()
        self.fingerprint = hashlib.sha256(called + own.tobytes() + self.counts.tobytes()).hexdigest()

    @classmethod
    def from_csv(cls, path: str | Path, weight: float | None = None) -> Prior:
        """Read counts from a CSV or TSV file."""
        return cls(parse_table(read_bytes(Path(path)), str(path)), str(path), weight)


def _find_columns(table: TextTable, name: str) -> dict[str, int]:
    known = {column.lower(): place for place, column in enumerate(table.columns)}
    places = {column: known[column] for column in _COLUMNS if column in known}
    if not {'class', 'count'} <= set(places) or not {'cell', 'month'} & set(places):
        raise RetrievalError(
            f'{name} must have a header with class, count, and cell or month or both; it has '
            f'{", ".join(table.columns) or "nothing"}'
        )
    return places


def _field(row: Sequence[str], places: dict[str, int], column: str) -> str:
    text = row[places[column]] if places[column] < len(row) else ''
    if not text:
        raise RetrievalError(f'the {column} is missing: fill it in, or leave the line out')
    return text


def _read_month(text: str) -> int:
    if text not in _MONTHS:
        raise RetrievalError(f'the month must be 1 to 12, not {text!r}')
    return _MONTHS[text]


def _read_count(text: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not (math.isfinite(count) and count >= 0):
        raise RetrievalError(f'the count must be a number from 0 on, not {text!r}')
    return count


class Context(NamedTuple):
    """What of a place and a month counts can use.

    Attributes:
        cell: Its name; None where the place is not known or not used.
        month: 1 to 12, likewise.
        reason: Why nothing can be used, in words; '' if something can.
    """

    cell: str | None
    month: int | None
    reason: str = ''

    @property
    def used(self) -> str:
        """What is used, in words: ``place and month``."""
        return ' and '.join(word for word, value in (('place', self.cell), ('month', self.month)) if value is not None)


class ClassPrior:
    """Counts for the classes of one gallery.

    Example:
        >>> prior = ClassPrior(Prior.from_csv('counts.csv'), ClassIndex(gallery))
        >>> prior.apply(shares, [prior.context(Taken.read(28.2, -177.4, '2024-05-01'))], PriorSettings())

    Args:
        prior: Counts of classes by any of the names that :class:`ClassIndex` knows.
        classes: Those of the gallery.
        labels: Some of them; None for all.

    Attributes:
        labels: The classes.
        known: bool, (c,), classes that the counts name, if only with a count of 0. Others keep their probability.
        everywhere: float64, (c,), how common each class is over all places and months; sums to 1.
        note: A sentence on classes that are not counted, or ''.

    Raises:
        RetrievalError: If the counts name no class of the gallery, or count none.
    """

    def __init__(self, prior: Prior, classes: ClassIndex, labels: Sequence[str] | None = None) -> None:
        self.labels = list(classes.labels if labels is None else labels)
        numbers = {label: number for number, label in enumerate(self.labels)}
        meant = [[numbers[label] for label in classes.find(name) if label in numbers] for name in prior.classes]
        sizes = np.array([len(one) for one in meant])[prior.codes]
        rows = np.repeat(np.arange(len(sizes)), sizes)  # a name may mean several classes, or none
        self._prior = prior
        self._codes = np.array([one for code in prior.codes.tolist() for one in meant[code]], np.int64)
        self._counts, self._places, self._months = prior.counts[rows], prior.places[rows], prior.months[rows]
        self.known = np.zeros(len(numbers), bool)
        self.known[self._codes] = True
        totals = self._sums(slice(None))
        if not totals.any():
            raise RetrievalError(
                f'{prior.name} counts no class that can be the answer: it has {prior.classes[0]!r}, and the gallery '
                f'{self.labels[0]!r}'
            )
        self.everywhere = totals / totals.sum()
        missing = [label for label, is_known in zip(self.labels, self.known) if not is_known]
        self.note = ''
        if missing:
            self.note = (
                f'{len(missing):,} of {len(numbers):,} classes are not in {prior.name}, such as {missing[0]}: they '
                'keep their probability; count 0 says that a class does not occur'
            )
        self._share = lru_cache(256)(self._read_share)

    def _sums(self, rows: slice | np.ndarray) -> np.ndarray:
        return np.bincount(self._codes[rows], self._counts[rows], len(self.known))

    def context(self, taken: Taken | None) -> Context:
        """What of a place and a month can be used: neither where nothing was counted, and months without a place."""
        prior, known = self._prior, taken or Taken()
        month = known.month if prior.has_months else None
        cell = None
        if prior.grid is not None and known.latitude is not None and known.longitude is not None:
            cell = prior.grid.cell(known.latitude, known.longitude)
            if cell not in prior.cells or not self._counts[self._rows_of(cell)].any():
                return Context(None, None, f'nothing was counted in cell {cell}')
        if cell is None and month is None:
            wanted = [word for word, there in (('place', prior.grid), ('date', prior.has_months)) if there]
            return Context(None, None, f'no {" and no ".join(wanted)} is known')
        return Context(cell, month)

    def _rows_of(self, cell: str) -> slice:
        code = self._prior.cells[cell]
        return slice(int(np.searchsorted(self._places, code)), int(np.searchsorted(self._places, code + 1)))

    def _read_share(self, context: Context) -> np.ndarray:
        """How common each class is there and then, float64 (c,), which sums to 1.

        One more animal is counted in each cell, spread over the classes as everywhere, and one in each month of it, as
        in the cell. So few counts say little, and a month without any is as the whole year.
        """
        share, rows = self.everywhere, np.arange(len(self._codes))
        if context.cell is not None:
            rows = rows[self._rows_of(context.cell)]
            share = self._joined(rows, share)
        if context.month is not None:
            share = self._joined(rows[self._months[rows] == context.month], share)
        return share

    def _joined(self, rows: np.ndarray, share: np.ndarray) -> np.ndarray:
        sums = self._sums(rows)
        return (sums + share) / (sums.sum() + 1)

    def logarithms(self, context: Context, settings: PriorSettings) -> np.ndarray:
        """Logarithm of the prior, float64 (c,), up to a constant and without its weight.

        By Bayes' rule, the chance of a class is multiplied by that of the place and month given the class, and by how
        common the class is, as far as the gallery's own photos do not say so (``commonness``). ``floor`` keeps both
        above 0.
        """
        there = self.everywhere > 0
        lift = np.divide(self._share(context), self.everywhere, out=np.zeros(len(there)), where=there)
        common = (1 - settings.floor) * self.everywhere + settings.floor / self.known.sum()
        return np.log((1 - settings.floor) * lift + settings.floor) + settings.commonness * np.log(common)

    def apply(self, shares: np.ndarray, contexts: Sequence[Context], settings: PriorSettings) -> np.ndarray:
        """Probabilities (c,) of what one or several photos show, with what their places and months say.

        Classes that are not counted keep theirs. Of several photos of one individual, the prior is the geometric mean.
        """
        used = [one for one in contexts if not one.reason]
        mass = shares[self.known].sum()
        if not used or settings.weight == 0 or mass <= 0:
            return shares
        logarithms = settings.weight * np.mean([self.logarithms(one, settings)[self.known] for one in used], axis=0)
        possible = self.known & (shares > 0)
        logarithms = logarithms[possible[self.known]]
        parts = shares[possible] * np.exp(logarithms - logarithms.max())
        found = shares.copy()
        found[possible] = parts * (mass / parts.sum())
        return found


def choose_prior(settings: Settings, prior: Prior, with_verdicts: bool = False) -> tuple[PriorSettings, str]:
    """How much counts are to count for a gallery with these settings, and a sentence if that was not tuned, or ''.

    RetrievalError if answers are to be accepted, but it is not known how many of those with the prior are right.
    """
    tuned = settings.prior
    chosen = tuned or PriorSettings()
    if prior.weight is not None:
        chosen = replace(chosen, weight=prior.weight)
    if chosen.weight == 0:
        return (
            chosen,
            f'{prior.name} is not used: tuning has found that it tells nothing' if prior.weight is None else '',
        )
    command = f'{TUNE} --prior {prior.name}'
    if with_verdicts and chosen != tuned:
        raise RetrievalError(
            f'how many answers with {prior.name} are right was never measured, so that none can be accepted: {command}'
        )
    if prior.weight is not None:
        return chosen, ''
    if tuned is None:
        return chosen, f'how much {prior.name} counts was not tuned, so it counts fully: {command}'
    if tuned.counts != prior.fingerprint:
        return chosen, f'{prior.name} has other counts than those that the prior was tuned with: {command}'
    return chosen, ''
