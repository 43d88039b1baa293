"""Global-local similarity: how close the CLS token is to every patch token (arXiv 2407.12891, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

SIMILARITIES = ('cos', 'l1', 'l2')


def global_local_similarity(global_token: Tensor, local_tokens: Tensor, similarity: str = 'cos') -> Tensor:
    """Compare one global token with every local token of the same image.

    The arithmetic is done in float32 whatever the input, because bfloat16 cannot separate patches whose
    similarity differs in the third decimal, which is where the top patches of a trained encoder lie.

    Args:
        global_token: CLS token of each image, shape (B, C), any float dtype.
        local_tokens: Patch tokens of each image, shape (B, N, C), any float dtype.
        similarity: ``'cos'`` (cosine, in [-1, 1]), ``'l1'`` (mean absolute difference over channels, >= 0) or ``'l2'``
            (mean squared difference over channels, >= 0). Another one is a ``ValueError``.

    Returns:
        float32, shape (B, N). For ``'cos'`` the LARGEST value marks the most similar patch, for ``'l1'`` and ``'l2'``
        the SMALLEST; :func:`selection_scores` brings them to one direction.
    """
    check_choice('similarity', similarity, SIMILARITIES)
    # Autocast would run the matrix product in half precision again, hence an elementwise form.
    global_token = global_token.float().unsqueeze(1)
    local_tokens = local_tokens.float()
    if similarity == 'cos':
        return F.cosine_similarity(global_token, local_tokens, dim=-1, eps=1e-8)
    difference = global_token - local_tokens
    if similarity == 'l1':
        return difference.abs().mean(dim=-1)
    return difference.square().mean(dim=-1)


def selection_scores(similarities: Tensor, similarity: str = 'cos') -> Tensor:
    """Similarities (B, N) as scores of which the largest are selected: distances are negated."""
    check_choice('similarity', similarity, SIMILARITIES)
    return similarities if similarity == 'cos' else -similarities


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError``, which names the argument, unless its value is one of the choices."""
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(choices)}, got {value!r}')


def top_patches(scores: Tensor, top_o: int) -> Tensor:
    """Indices of the patches with the largest scores (B, N), best first: int64 (B, min(top_o, N)).

    NaN counts as the least; ``top_o``, the paper's O, is 1 or more.
    """
    scores = torch.nan_to_num(scores, nan=float('-inf'), posinf=float('inf'), neginf=float('-inf'))
    return torch.topk(scores, k=min(top_o, scores.shape[1]), dim=1).indices
