"""Whether backbone, neck and head of a classifier fit, told in one sentence before anything is computed."""

from mmpretrain.models import BaseRetriever, ImageClassifier, VisionTransformer
from mmpretrain.models.heads import LinearClsHead, StackedLinearClsHead, VisionTransformerClsHead
from torch import nn

from ...errors import GLSimError
from ..backbones import TimmViT
from ..backbones.token_selection_vit import TokenSelectionViT
from ..heads import AggregatorHead, CounterfactualHead, FusedHead, aggregator_head
from ..necks import BilinearAttentionPooling, RegionSelector, region_selector
from ..utils import unwrap_encoder
from .cal_classifier import CALClassifier

_AS_PLAIN_VIT = "for a plain ViT set model.type='ImageClassifier', model.backbone.out_type='cls_token' and no neck"
_VECTOR_HEADS = (LinearClsHead, StackedLinearClsHead, VisionTransformerClsHead)


def check_glsim_parts(model: ImageClassifier) -> None:
    """Check the parts of a :class:`GLSimClassifier`, beyond what :func:`token_layout` does.

    Raises:
        GLSimError: If the encoder keeps no patch tokens, the neck selects no regions, or the head takes no class tokens
            (B, V, C) or those of another width.
    """
    encoder = unwrap_encoder(model.backbone)
    if isinstance(encoder, TokenSelectionViT):
        raise GLSimError(
            f'{type(encoder).__name__} returns the tokens that it selects, not those of all patches: set '
            f"model.backbone.type='GLSimViT'; {_AS_PLAIN_VIT}."
        )
    neck, head = type(model.neck).__name__, type(model.head).__name__
    if not hasattr(model.neck, 'needs_boxes'):
        raise GLSimError(
            f'{neck} selects no region for GLSimClassifier to crop: set model.neck.type to a selector such as '
            f"'GLSimSelector'; {_AS_PLAIN_VIT}."
        )
    if model.head is not None and getattr(encoder, 'with_head', False):
        raise GLSimError(f'{head} reads CLS tokens: set model.backbone.with_head=False, or remove model.head.')
    if model.head is None:  # extract_feat and searches need none
        return
    if isinstance(model.head, CounterfactualHead) or _is_of_mmpretrain(model.head):
        raise GLSimError(
            f'{head} classifies one vector per image, but GLSimClassifier gives it the CLS tokens of image and crop: '
            f"set model.head.type='AggregatorHead'; {_AS_PLAIN_VIT}."
        )
    _check_width(model)


def check_parts(model: nn.Module, needs_head: bool = False) -> None:
    """Check that the parts of a classifier of mmpretrain fit where one of them is of this project.

    :class:`GLSimClassifier` checks its own when it is built. Of a retriever the image encoder is checked; other models
    are left alone.

    Args:
        model: Any model.
        needs_head: Whether it is to be trained, tested or asked for classes.

    Raises:
        GLSimError: If they do not fit, or there is no head.
    """
    if not isinstance(model, ImageClassifier):
        if isinstance(model, BaseRetriever) and hasattr(model, 'image_encoder'):
            check_parts(model.image_encoder)
        return
    name, head = type(model).__name__, type(model.head).__name__
    if needs_head and model.head is None:
        fitting = 'AggregatorHead' if hasattr(model.neck, 'needs_boxes') else 'LinearClsHead'
        raise GLSimError(
            f'{name} has no head to classify with: set model.head, for example to '
            f"dict(type='{fitting}', num_classes=..., in_channels=...)."
        )
    of_cal = [isinstance(model.neck, BilinearAttentionPooling), isinstance(model.head, CounterfactualHead)]
    is_cal = isinstance(model, CALClassifier)
    if is_cal and not all(of_cal) or type(model) is ImageClassifier and any(of_cal):
        raise GLSimError(
            'CALClassifier, BilinearAttentionPooling (model.neck) and CounterfactualHead (model.head) go together, got '
            f'{name}, {type(model.neck).__name__} and {head}: set all three or none.'
        )
    if type(model) is not ImageClassifier:
        return
    if isinstance(model.neck, RegionSelector):
        raise region_selector.not_in_classifier(model.neck)
    if isinstance(model.head, (AggregatorHead, FusedHead)):
        raise aggregator_head.not_in_classifier(model.head)
    encoder = unwrap_encoder(model.backbone)
    if (
        isinstance(encoder, (VisionTransformer, TimmViT))
        and model.neck is None
        and isinstance(model.head, _VECTOR_HEADS)
    ):
        if encoder.out_type in ('raw', 'featmap'):
            raise GLSimError(
                f'{head} classifies one vector per image, but {type(encoder).__name__} gives all tokens '
                f"(out_type={encoder.out_type!r}): set model.backbone.out_type='cls_token', or "
                "model.type='GLSimClassifier' with AggregatorHead as model.head."
            )
        _check_width(model)


def _check_width(model: ImageClassifier) -> None:
    encoder = unwrap_encoder(model.backbone)
    found, expected = getattr(model.head, 'in_channels', None), getattr(encoder, 'embed_dims', None)
    if None not in (found, expected) and found != expected:
        raise GLSimError(
            f'{type(model.head).__name__} takes tokens of {found} channels, but those of {type(encoder).__name__} have '
            f'{expected}: set model.head.in_channels={expected}.'
        )


def _is_of_mmpretrain(head: nn.Module) -> bool:
    """Whether what a head computes is mmpretrain's: its heads take one vector, feature maps or parts of a ViT."""
    steps = (getattr(type(head), name, None) for name in ('pre_logits', 'forward'))
    return all(getattr(step, '__module__', '').startswith('mmpretrain.') for step in steps)
