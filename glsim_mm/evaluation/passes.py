"""What predictions cost."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..errors import GLSimError


@METRICS.register_module()
class MeanPasses(BaseMetric):
    """Mean cost of a prediction of :class:`GLSimClassifier`, in passes over an image of the network's size.

    The paper's model takes 2. It is less where ``test_cfg.crop`` leaves crops out, or ``second_look.first`` makes the
    first pass cheaper. ``passes`` is its name among the metrics::

        test_evaluator = [dict(type='Accuracy', topk=(1,)), dict(type='MeanPasses')]
    """

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Take the passes of each prediction."""
        if any('passes' not in sample for sample in data_samples):
            raise GLSimError('MeanPasses needs the predictions of a GLSimClassifier: take it out of the evaluator.')
        self.results += [sample['passes'] for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Their mean."""
        return dict(passes=sum(results) / max(len(results), 1))
