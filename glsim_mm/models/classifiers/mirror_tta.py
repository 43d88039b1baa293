"""Test-time augmentation by mirroring."""

from mmengine.model import BaseTTAModel
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample


@MODELS.register_module()
class MirrorTTA(BaseTTAModel):
    """Mean of the logits over views of an image, by default itself and its mirror image.

    This is ``--test_flip`` of GLSim's authors, "similar to CAL" (github.com/arkel23/GLSim,
    github.com/raoyongming/CAL), which average logits. Averaging logits is averaging logarithms of probabilities, up to
    a constant that the softmax takes away; so any classifier with ``pred_score`` will do. What else a model leaves on
    its results, region and similarity map, is that of the view that is not mirrored.

    Example::

        tta_model = dict(type='MirrorTTA')  # beside a tta_pipeline, for glsim test --tta
    """

    def merge_preds(self, data_samples_list: list[list[DataSample]]) -> list[DataSample]:
        """Merge the views of each image, which have ``pred_score`` (C,), probabilities, and ``flip``."""
        return [_merge(views) for views in data_samples_list]


def _merge(views: list[DataSample]) -> DataSample:
    merged = next((view for view in views if not view.get('flip')), views[0]).clone()
    tiny = merged.pred_score.new_tensor(1e-30)
    logits = sum(view.pred_score.clamp_min(tiny).log() for view in views) / len(views)
    scores = logits.softmax(dim=0)
    return merged.set_pred_score(scores).set_pred_label(scores.argmax(dim=0, keepdim=True))
