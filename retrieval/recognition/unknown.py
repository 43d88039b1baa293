"""How well a confidence tells known from unknown, and the threshold that does it."""

import numpy as np

from ..errors import RetrievalError

BALANCED = 'balanced'


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a known query has the larger confidence than an unknown one.

    Args:
        known: Floating point, (a,), confidences of queries of known classes, a >= 1.
        unknown: Floating point, (b,), those of unseen classes, b >= 1.

    Returns:
        0 to 1; 0.5 for a confidence that says nothing. Ties count one half.

    Raises:
        RetrievalError: If either is empty or has NaN.
    """
    known, unknown = _check(known, 'known'), _check(unknown, 'unknown')
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, 'left')
    upto = np.searchsorted(ordered, known, 'right')
    return float((below + upto).mean() / (2 * len(unknown)))


def choose_threshold(known: np.ndarray, unknown: np.ndarray | None = None, target: str | float = BALANCED) -> float:
    """Confidence below which a query is called unknown.

    Args:
        known: Floating point, (a,), confidences of held-out images whose class is in the gallery.
        unknown: Floating point, (b,), those of images whose class is not; needed for ``'balanced'``.
        target: ``'balanced'`` for the best mean of the accuracy on known and on unknown; a number from 0 to below 1 for
            the share of known images that may be called unknown. Defaults to ``'balanced'``.

    Returns:
        The threshold; a confidence equal to it is known. With a rate it is the largest that keeps to it.

    Raises:
        RetrievalError: If there are no confidences, or the target is none of these.
    """
    known = np.sort(_check(known, 'known'))
    if target != BALANCED:
        if isinstance(target, str) or not 0 <= target < 1:
            raise RetrievalError(f"target must be 'balanced' or a rate from 0 to below 1, got {target!r}")
        return float(known[int(target * len(known) + 1e-9)])  # 0.29 * 100 is 28.999999999999996
    if unknown is None:
        raise RetrievalError("a 'balanced' threshold needs confidences of unknown images: hold classes out")
    unknown = np.sort(_check(unknown, 'unknown'))
    places = np.unique(np.concatenate([known, unknown, [np.nextafter(unknown[-1], np.inf)]]))
    right = 1 - np.searchsorted(known, places, 'left') / len(known)
    right += np.searchsorted(unknown, places, 'left') / len(unknown)
    return float(places[int(right.argmax())])


def parse_target(text: str | None) -> str | float | None:
    """Read a target of :func:`choose_threshold` from a command line.

    Args:
        text: ``'balanced'``, or a rate such as ``'0.05'``.

    Returns:
        The target; None for None.

    Raises:
        RetrievalError: If it is neither.
    """
    if text is None or text == BALANCED:
        return text
    try:
        return float(text)
    except ValueError:
        raise RetrievalError(f"write 'balanced' or a rate such as 0.05, not {text!r}") from None


def _check(confidences: np.ndarray, name: str) -> np.ndarray:
    confidences = np.asarray(confidences, np.float64)
    if confidences.ndim != 1 or not confidences.size or np.isnan(confidences).any():
        raise RetrievalError(f'confidences of {name} images must be a vector of at least one number, without NaN')
    return confidences
