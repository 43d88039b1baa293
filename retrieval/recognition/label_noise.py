"""How well an audit would find wrong labels in a gallery: put some in, and see."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import GalleryReader, Space
from .audit import ask_twice
from .class_means import ClassMeans
from .left_out import Evidence, able_to_be_left_out, read_evidence
from .opinions import choose_settings, contradicted, doubts
from .unknown import auroc

SEEDS = 5
_ALIKE = 3  # classes that a label is taken from


class NoiseTest(NamedTuple):
    """How well wrong labels were found that had been put in; means and standard deviations over the draws.

    Attributes:
        share: Of the labels that were made wrong.
        look_alike: Whether they were taken from one of the three most similar classes; else from any.
        photos: Labels that could be made wrong.
        seeds: How many draws there were.
        auroc, auroc_spread: Chance that a wrong label is doubted more than one that was left as it was, 0 to 1.
        found, found_spread: Share of the wrong labels that are among the suspects, 0 to 1.
        precision, precision_spread: Share of the suspects that had been made wrong, 0 to 1.
    """

    share: float
    look_alike: bool
    photos: int
    seeds: int
    auroc: float
    auroc_spread: float
    found: float
    found_spread: float
    precision: float
    precision_spread: float

    def describe(self) -> str:
        """One sentence for people."""
        source = 'one of the three most similar classes' if self.look_alike else 'any other class'
        return (
            f'{self.share:.0%} of {self.photos:,} labels were changed to {source}, {self.seeds} times: AUROC '
            f'{self.auroc:.3f} ± {self.auroc_spread:.3f}. The audit found {self.found:.0%} (± {self.found_spread:.0%}) '
            f'of them, and {self.precision:.0%} (± {self.precision_spread:.0%}) of its suspects were among them, where '
            'labels that were wrong before count as right.'
        )


def noise_test(
    gallery: GalleryReader,
    share: float,
    look_alike: bool = False,
    space: Space = None,
    where: Any = None,
    seeds: int = SEEDS,
) -> NoiseTest:
    """Put wrong labels into a gallery, in memory alone, and measure how well :func:`audit` finds them.

    How the gallery is asked is chosen anew on the wrong labels, and a metric that was learned from labels is learned
    from the wrong ones, so that nothing knows the right ones.

    Args:
        gallery: At least two classes, one of which has photos of two observations.
        share: Of the labels to make wrong, above 0 and below 1.
        look_alike: Take wrong labels from the three classes most similar to the right one, rather than from all.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it count.
        seeds: How many times to draw.

    Raises:
        RetrievalError: If the share leaves nothing to find, or the gallery has too few labels.
    """
    if not 0 < share < 1:
        raise RetrievalError(f'the share of labels to make wrong is above 0 and below 1, not {share}')
    evidence = read_evidence(gallery, space, where)
    able = np.flatnonzero(able_to_be_left_out(evidence))
    count = round(share * len(able))
    if not 0 < count < len(able):
        raise RetrievalError(
            f'{share:.0%} of the {len(able)} labels that can be checked are {count}: choose another share or add photos'
        )
    alike = _alike(evidence) if look_alike else None
    settings, results = None, []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        wrong = random.choice(able, count, replace=False)
        noisy = evidence._replace(codes=with_noise(evidence.codes, wrong, len(evidence.names), random, alike))
        settings = settings or choose_settings(noisy)
        opinions = ask_twice(noisy, settings)
        doubt = np.nan_to_num(doubts(opinions, noisy.codes), nan=0.5)
        doubt[~able_to_be_left_out(noisy)] = 0.5  # nothing speaks for or against it
        suspected = contradicted(opinions, noisy.codes, len(noisy.names)) & able_to_be_left_out(noisy)
        is_wrong = np.zeros(len(doubt), bool)
        is_wrong[wrong] = True
        labelled = noisy.codes >= 0
        results.append(
            (
                auroc(doubt[is_wrong], doubt[labelled & ~is_wrong]),
                suspected[is_wrong].mean(),
                is_wrong[suspected].mean() if suspected.any() else 0.0,
            )
        )
    means = np.mean(results, axis=0).tolist()
    spreads = np.std(results, axis=0, ddof=1).tolist() if seeds > 1 else [0.0] * 3
    pairs = [value for pair in zip(means, spreads) for value in pair]
    return NoiseTest(share, look_alike, len(able), seeds, *pairs)


def with_noise(
    codes: np.ndarray, wrong: np.ndarray, num_classes: int, random: np.random.Generator, alike: np.ndarray | None = None
) -> np.ndarray:
    """Classes (n,) in which those of some rows (w,) are others: of ``alike`` (c, a) of each class, or of all."""
    noisy = codes.copy()
    if alike is None:
        noisy[wrong] = (codes[wrong] + random.integers(1, num_classes, len(wrong))) % num_classes
    else:
        noisy[wrong] = alike[codes[wrong], random.integers(alike.shape[1], size=len(wrong))]
    return noisy


def _alike(evidence: Evidence) -> np.ndarray:
    """The classes whose means are nearest to that of each class, int64 (c, 3), or fewer."""
    rows = evidence.compared(np.ones(len(evidence.codes), bool))
    sums = ClassMeans.of(rows, evidence.codes, len(evidence.names))
    distances = sums.distances(sums.sums / np.maximum(sums.counts, 1)[:, None])
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, : min(_ALIKE, len(evidence.names) - 1)]
