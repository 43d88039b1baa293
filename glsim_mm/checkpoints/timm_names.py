"""timm's own names, also behind the prefixes of open_clip (``visual.trunk.``) and of this project's ``TimmViT``."""

import re
from collections.abc import Mapping

from torch import Tensor

from .renaming import Renamed

# Buffers and parts of pre-training that no forward pass of the encoder reads.
_NO_ENCODER = re.compile(
    r'mask_token|.*\.relative_position_index|rope\..*|attn_pool\..*|head_dist\..*|decoder.*|pre_logits\..*|lm_head\..*'
)


def read_timm(tensors: Mapping[str, Tensor]) -> Renamed:
    """Tell an encoder and its classifier from what else a file with timm's names may hold.

    Args:
        tensors: Weights with timm's names.

    Returns:
        The same tensors and names.
    """
    left_out = [name for name in tensors if _NO_ENCODER.fullmatch(name)]
    return Renamed({name: tensor for name, tensor in tensors.items() if name not in set(left_out)}, left_out)
