"""Region selectors of GLSim's peers, which read the encoder's attention.

The encoder keeps its fused attention: its queries and keys are recorded, and of the attention matrices only what a
selector needs is made of them afterwards.
"""

from mmpretrain.registry import MODELS
from torch import Tensor

from ...ops import (
    AttentionInputs,
    attention_rollout,
    class_attention,
    head_products,
    mutual_attention,
    selective_attention,
)
from ..utils import AttentionRecord
from .region_selector import RegionSelector, SelectionInputs, read_attention, read_layer


class AttentionSelector(RegionSelector):
    """Base of selectors that read attention."""

    needs_attention = True

    def record_of(self, inputs: SelectionInputs) -> AttentionRecord:
        """The encoder's attention; :class:`GLSimError` if it was not recorded."""
        return read_attention(inputs, type(self).__name__)


class LayerAttentionSelector(AttentionSelector):
    """Base of selectors that read one layer; ``layer=-1`` is the last. See :class:`RegionSelector` for other arguments.

    Example::

        neck=dict(type='MAWSSelector', layer=-2, top_o=8)
    """

    def __init__(self, layer: int = -1, **kwargs) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def layer_of(self, inputs: SelectionInputs) -> AttentionInputs:
        """Queries and keys of the layer; :class:`GLSimError` if the encoder has no such layer."""
        return read_layer(inputs, type(self).__name__, self.layer)


@MODELS.register_module()
class ClassAttentionSelector(LayerAttentionSelector):
    """Selects the patches to which the CLS token of one layer attends most, heads averaged.

    See :class:`LayerAttentionSelector` for arguments and :func:`glsim_mm.ops.class_attention` for the scores.

    Example::

        neck=dict(type='ClassAttentionSelector', top_o=8)
    """

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        return class_attention(self.layer_of(inputs), inputs.patches_from)


@MODELS.register_module()
class MAWSSelector(LayerAttentionSelector):
    """Mutual attention weight selection of FFVT (arXiv 2107.02341).

    See :class:`LayerAttentionSelector` for arguments and :func:`glsim_mm.ops.mutual_attention` for the scores. FFVT
    selects in every layer but the last; as a region selector the last layer serves by default.

    Example::

        neck=dict(type='MAWSSelector', top_o=8)
    """

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        return mutual_attention(self.layer_of(inputs), inputs.patches_from)


@MODELS.register_module()
class RolloutSelector(AttentionSelector):
    """Attention rollout over all layers (arXiv 2005.00928), the selection of RAMS-Trans and DCAL.

    See :class:`RegionSelector` for arguments and :func:`glsim_mm.ops.attention_rollout` for the scores.

    Example::

        neck=dict(type='RolloutSelector', top_o=8)
    """

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        return attention_rollout(self.record_of(inputs), inputs.patches_from)


@MODELS.register_module()
class PSMSelector(AttentionSelector):
    """Part selection module of TransFG (arXiv 2103.07976): product of all layers' attention per head.

    TransFG takes the best patch of each head; for ``top_o`` patches the heads' products are summed. See
    :class:`RegionSelector` for arguments and :func:`glsim_mm.ops.head_products`.

    Example::

        neck=dict(type='PSMSelector', top_o=8)
    """

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        return head_products(self.record_of(inputs), inputs.patches_from).sum(dim=1)


@MODELS.register_module()
class SACMSelector(AttentionSelector):
    """Selective attention collection of AF-Trans (arXiv 2110.01240): where the heads agree, all layers weighed.

    See :class:`RegionSelector` for arguments and :func:`glsim_mm.ops.selective_attention` for the scores and where they
    differ from the paper.

    Example::

        neck=dict(type='SACMSelector', top_o=8)
    """

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        return selective_attention(self.record_of(inputs), inputs.patches_from)
