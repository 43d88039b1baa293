"""Which embeddings of a gallery a search compares, as people write it."""

from .errors import RetrievalError


def parse_space(text: str | None) -> str | dict[str, float] | None:
    """Read the name of a space, or weights of several, from a command line.

    Args:
        text: ``'aggregated'``, or ``'global=0.5,crop=0.5'``.

    Returns:
        The name; weights by name; None for None.

    Raises:
        RetrievalError: If a weight is missing, is no number or not positive, or a name comes twice.
    """
    if text is None or '=' not in text:
        return text
    weights: dict[str, float] = {}
    for part in text.split(','):
        name, _, number = part.partition('=')
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or name in weights or not 0 < weight < float('inf'):
            raise RetrievalError(f'--space {text}: write weights above 0, each space once, as global=0.5,crop=0.5')
        weights[name] = weight
    return weights
