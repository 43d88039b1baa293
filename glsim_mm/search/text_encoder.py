"""Embeddings of texts, by the text tower that belongs to a pretrained image encoder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.checkpoint_files import read_checkpoint
from ..checkpoints.published_config import OPEN_CLIP
from ..errors import GLSimError, one_line

_AT_ONCE = 64
_SMALLEST = dict(image_size=32, patch_size=32, width=64, layers=1)  # image tower of open_clip


class TextEncoder:
    """The text tower of a CLIP or SigLIP of transformers or open_clip, computed by that library.

    ::

        TextEncoder('transformers', Path('clip-vit-base-patch16'), 'clip')(['a red cap'])  # (1, 512)

    Args:
        library: ``'transformers'`` or ``'open_clip'``.
        folder: Its weights, config and tokenizer; nothing is fetched and no code is run from it.
        kind: ``model_type`` of transformers.

    Raises:
        GLSimError: If the files are not those of such a model.
    """

    def __init__(self, library: str, folder: Path, kind: str) -> None:
        try:
            load = _of_open_clip if library == OPEN_CLIP else _of_transformers
            self._encode = load(folder, kind)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, AttributeError) as error:
            raise GLSimError(f'the text tower in {folder} cannot be loaded: {one_line(error, 200)}') from error

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (n, D) float32 of texts, in the space of the image features, not normalised."""
        parts = [self._encode(list(texts[start : start + _AT_ONCE])) for start in range(0, len(texts), _AT_ONCE)]
        return torch.cat(parts).float().numpy()


def _of_transformers(folder: Path, kind: str) -> Callable[[list[str]], Tensor]:
    import transformers

    local: dict[str, Any] = dict(local_files_only=True, trust_remote_code=False)
    with _without_bar(transformers.utils.logging):
        model, told = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, **local)
    lacking = [*told['missing_keys'], *told['mismatched_keys']]
    if lacking:  # transformers would go on with random numbers
        raise KeyError(f'the weights lack {lacking[0]}')
    del model.vision_model
    model.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
    length = model.config.text_config.max_position_embeddings
    # SigLIP was trained on texts that were padded to the full length, without a mask.
    how: dict[str, Any] = dict(padding=True) if kind == 'clip' else dict(padding='max_length')
    names = ('input_ids', 'attention_mask')[: 2 if kind == 'clip' else 1]

    def encode(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, truncation=True, max_length=length, return_tensors='pt', **how)
        features = model.get_text_features(**{name: tokens[name] for name in names})
        return features if isinstance(features, Tensor) else features.pooler_output  # a tensor before transformers 5

    return encode


@contextmanager
def _without_bar(logging: Any) -> Iterator[None]:
    """Load without transformers' own progress bar."""
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _of_open_clip(folder: Path, _: str) -> Callable[[list[str]], Tensor]:
    import open_clip

    name = f'local-dir:{folder}'
    settings = open_clip.get_model_config(name)
    settings['vision_cfg'] = _SMALLEST  # not needed, and taken away again
    settings['text_cfg']['hf_model_pretrained'] = False
    is_apart = settings.pop('custom_text', False) or 'hf_model_name' in settings['text_cfg']
    model = (open_clip.CustomTextCLIP if is_apart else open_clip.CLIP)(**settings).eval()
    del model.visual
    tensors = read_checkpoint(folder).tensors
    own = model.state_dict()
    model.load_state_dict({key: tensors[key] for key in own}, strict=True)
    tokenizer = open_clip.get_tokenizer(name)
    return lambda texts: model.encode_text(tokenizer(texts))
