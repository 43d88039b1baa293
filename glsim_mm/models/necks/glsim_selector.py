"""Global-local similarity selection, the mechanism of GLSim."""

from mmpretrain.registry import MODELS
from torch import Tensor

from ...ops import check_similarity, global_local_similarity, selection_scores
from .region_selector import RegionSelector, SelectionInputs


@MODELS.register_module()
class GLSimSelector(RegionSelector):
    """Selects the patches whose tokens are most similar to the CLS token (arXiv 2407.12891, section 3.2).

    It reads tokens only, no attention matrix, so the encoder keeps fused attention.

    Args:
        similarity: ``'cos'``, ``'l1'`` or ``'l2'``; see :func:`glsim_mm.ops.global_local_similarity`.
        **kwargs: Arguments of :class:`RegionSelector`: ``top_o``, ``box_end``, ``crop_size``, ``init_cfg``.

    Raises:
        ValueError: If ``similarity`` is unknown.
    """

    def __init__(self, similarity: str = 'cos', **kwargs) -> None:
        super().__init__(**kwargs)
        check_similarity(similarity)
        self.similarity = similarity

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Similarity of every patch token to the CLS token, larger is more similar; see the base class."""
        patches = inputs.tokens[:, inputs.layout.num_extra_tokens :]
        similarities = global_local_similarity(inputs.tokens[:, 0], patches, self.similarity)
        return selection_scores(similarities, self.similarity)
