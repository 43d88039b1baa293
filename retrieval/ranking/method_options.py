"""Options of the re-ranking methods: as people type them, and those that a gallery's classes suggest."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import GalleryReader
from .reranking import METHODS, check_method, check_options

PUBLISHED_K1 = 20  # of k-reciprocal re-ranking
_SAMPLE, _READ = 5_000, 1_000


def parse_options(method: str | None, texts: Sequence[str]) -> dict[str, Any] | None:
    """Options of a method as people type them, such as ``'k1=8'`` and ``'weight=0.6'``; None for none.

    RetrievalError, in one sentence, if there is no method, it has no such option, or a value is of another kind.
    """
    if not texts:
        return None
    if method is None:
        raise RetrievalError('--rerank-options are options of --rerank: name a method')
    check_method(method)
    defaults = {
        name: one.default
        for name, one in inspect.signature(METHODS[method]).parameters.items()
        if one.kind is one.KEYWORD_ONLY and isinstance(one.default, (int, float))
    }
    found: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition('=')
        if name not in defaults or not separator:
            raise RetrievalError(f'--rerank-options {text}: {method} takes {_example(defaults)}')
        try:
            found[name] = _read(value, defaults[name])
        except ValueError:
            raise RetrievalError(f'--rerank-options {text}: {method} takes {_example(defaults)}') from None
    return found


def fit_options(gallery: GalleryReader, method: str | None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All options of a method but those that stay as they are: what is given, and what the classes suggest.

    ``k-reciprocal`` asks whose neighbours the query is among; more neighbours than a class has photos are of other
    classes. So k1 is one less than the size of a class, as the median over labeled photos, at most the published 20,
    and k2 three tenths of k1, as published. Sizes are those in 5,000 rows, evenly spread, scaled. Without labels both
    are as published.
    """
    options = dict(given or {})
    if method is not None:
        check_method(method)
        check_options(method, options)
    if method == 'k-reciprocal':
        if 'k1' not in options:
            options['k1'] = _fitting_k1(gallery)
        options.setdefault('k2', max(1, round(0.3 * options['k1'])))
    return options


def describe_options(method: str | None, options: Mapping[str, Any]) -> str:
    """A line for people: ``'k-reciprocal with k1=11, k2=3'``; '' without options."""
    listed = ', '.join(f'{name}={value}' for name, value in options.items())
    return f'{method} with {listed}' if listed else ''


def _fitting_k1(gallery: GalleryReader) -> int:
    ids = gallery.ids()
    if not len(ids):
        return PUBLISHED_K1
    chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(len(ids), _SAMPLE)).astype(np.int64))]
    counts: Counter[str] = Counter()
    for start in range(0, len(chosen), _READ):
        counts.update(one.label for one in gallery.records(chosen[start : start + _READ]) if one.label is not None)
    if not counts:
        return PUBLISHED_K1
    sizes = np.array(sorted(counts.values()))
    median = np.median(np.repeat(sizes, sizes)) * len(ids) / len(chosen)
    return int(np.clip(round(median) - 1, 1, PUBLISHED_K1))


def _read(text: str, default: Any) -> Any:
    """A value of the kind of a default."""
    if isinstance(default, bool):
        if text.lower() not in ('true', 'false'):
            raise ValueError(text)
        return text.lower() == 'true'
    return type(default)(text)


def _example(defaults: Mapping[str, Any]) -> str:
    return ', '.join(f'{name}={value}' for name, value in defaults.items())
