"""Selection by a classifier of single patches, the plug-in module of PIM."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from .region_selector import RegionSelector, SelectedRegions, SelectionInputs


@MODELS.register_module()
class PIMSelector(RegionSelector):
    """Selects the patches of which a linear classifier is surest (arXiv 2202.03822).

    A patch's score is its largest class probability. The classifier learns from image labels alone, by :meth:`loss`,
    whose gradient reaches the encoder too; cropping carries none, as with every selector. Loss weights are those of the
    authors' settings for CUB (github.com/chou141253/FGVC-PIM, configs/CUB200_SwinT.yaml). Of PIM only the selector is
    here, on the encoder's last tokens: no feature pyramid, no graph network that combines the selected tokens.

    Args:
        num_classes: Number of classes K, that of the head.
        in_channels: Width C of the encoder's tokens.
        mean_weight: Weight of the cross-entropy of the logits' mean over all patches.
        select_weight: Weight of the mean cross-entropy of selected patches.
        drop_weight: Weight of the mean squared distance of all other patches' ``tanh(logits)`` to -1, which keeps the
            background from being sure of any class.
        **kwargs: Arguments of :class:`RegionSelector`.

    Example::

        neck=dict(type='PIMSelector', num_classes=200, in_channels=768)
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        mean_weight: float = 0.5,
        select_weight: float = 0.0,
        drop_weight: float = 5.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        if mean_weight <= 0 and select_weight <= 0:
            raise ValueError('mean_weight or select_weight must be positive: no other loss tells the classes apart')
        self.num_classes = num_classes
        self.mean_weight = mean_weight
        self.select_weight = select_weight
        self.drop_weight = drop_weight
        self.classifier = nn.Linear(in_channels, num_classes)

    def score_patches(self, inputs: SelectionInputs) -> Tensor:
        """Largest class probability of each patch, in [1 / K, 1]; see the base class."""
        return self._classify(inputs.tokens[:, inputs.layout.num_extra_tokens :]).softmax(dim=-1).amax(dim=-1)

    def loss(self, tokens: Tensor, regions: SelectedRegions, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of the classifier; :class:`GLSimClassifier` adds them to those of its head.

        ``tokens`` (B, P0 + N, C), with gradient, are those that the regions were selected from; samples have one label
        or mixed ones. Gives ``loss_pim_mean``, ``loss_pim_select`` and ``loss_pim_drop``, but for those of weight 0.
        """
        logits = self._classify(tokens[:, -regions.scores.shape[1] :])
        is_mixed = 'gt_score' in data_samples[0]
        of_images = [sample.gt_score[None] if is_mixed else sample.gt_label for sample in data_samples]
        targets = torch.cat(of_images)
        losses = {}
        if self.mean_weight > 0:
            losses['loss_pim_mean'] = F.cross_entropy(logits.mean(dim=1), targets) * self.mean_weight
        if self.select_weight > 0:
            selected = logits.gather(1, regions.indices[:, :, None].expand(-1, -1, self.num_classes))
            repeated = targets.repeat_interleave(selected.shape[1], dim=0)
            losses['loss_pim_select'] = F.cross_entropy(selected.flatten(0, 1), repeated) * self.select_weight
        if self.drop_weight > 0:
            is_dropped = torch.ones_like(regions.scores).scatter(1, regions.indices, 0.0)
            distances = (logits.tanh() + 1).square().mean(dim=-1)
            # Nothing is dropped when top_o takes every patch.
            mean = (distances * is_dropped).sum() / is_dropped.sum().clamp(min=1)
            losses['loss_pim_drop'] = mean * self.drop_weight
        return losses

    def _classify(self, patches: Tensor) -> Tensor:
        """Logits, float32 (B, N, K): autocast would lower them, and bfloat16 cannot rank patches."""
        with torch.autocast(device_type=patches.device.type, enabled=False):
            return F.linear(patches.float(), self.classifier.weight.float(), self.classifier.bias.float())
