"""How well images find those of their class, as a metric of validation and test loops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from retrieval.evaluation import RetrievalReport, evaluate_embeddings, format_report

from ..errors import GLSimError
from .retrieval_rankings import average_scores, gallery_labels, read_relevant, score_ranking
from .single_label import check_images, read_label

MODES = ('embedding', 'ranking')


@METRICS.register_module()
class RetrievalMetrics(BaseMetric):
    """Recall@k, R-Precision, MAP@R and mAP; see :func:`retrieval.evaluation.evaluate_embeddings`.

    Reports ``retrieval/MAP@R``, ``retrieval/R-Precision``, ``retrieval/Recall@1`` and so on and ``retrieval/mAP``, per
    cent. Images whose class has no other image do not count; the log says how many.

    ``mode='embedding'``: every image is searched among all others by the embeddings that :class:`KeepEmbeddingsHook`
    leaves on the results of any classifier; classes need not be those of the head. ``mode='ranking'``: the model is a
    retriever that ranks a gallery of its own, ``pred_label`` are gallery rows, best first, and ``gt_label`` the rows
    that are relevant, as mmpretrain's ``InShop`` has them.

    Args:
        ks: Values of k of Recall@k, >= 1.
        mode: See above.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``, how embeddings are compared.
        whole_ranking: Report mAP, which ranks the whole gallery for every query.
        query_field: Field of each result that is true for a query and false for an image of the gallery. Defaults to
            None: all images are both.
        gallery: Config of the data set that a retriever searches. With it ``gt_label`` is the class of a query, not the
            relevant rows.
        worst_classes: How many classes with the smallest MAP@R to log.
        collect_device: ``'cpu'`` or ``'gpu'``, where processes exchange results.
        prefix: Replaces ``retrieval`` in the reported names.
        **kwargs: Other arguments of mmengine's :class:`BaseMetric`.

    Raises:
        GLSimError: If an argument is out of range.
    """

    default_prefix = 'retrieval'
    needs_classes = False  # those of the head may be others, see NumClassesCheckHook

    def __init__(
        self,
        ks: Sequence[int] = (1, 2, 4, 8),
        mode: str = 'embedding',
        metric: str = 'cosine',
        whole_ranking: bool = True,
        query_field: str | None = None,
        gallery: dict | None = None,
        worst_classes: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, **kwargs)
        if mode not in MODES:
            raise GLSimError(f'RetrievalMetrics: mode must be one of {", ".join(MODES)}, got {mode!r}')
        if not ks or min(ks) < 1:
            raise GLSimError(f'RetrievalMetrics: every k must be at least 1, got ks={tuple(ks)}; correct the config')
        if mode == 'embedding' and gallery is not None:
            raise GLSimError("RetrievalMetrics: gallery is for mode='ranking'; mark queries with query_field")
        self.ks = tuple(ks)
        self.mode = mode
        self.metric = metric
        self.whole_ranking = whole_ranking
        self.query_field = query_field
        self.gallery = gallery
        self.worst_classes = worst_classes
        self._gallery_labels: np.ndarray | None = None
        # Of the last evaluation by embeddings, on the first process.
        self.report: RetrievalReport | None = None

    @property
    def needs_embeddings(self) -> bool:
        """Whether results must have ``embedding``."""
        return self.mode == 'embedding'

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep the embedding and the label of each image, or score its ranking.

        Args:
            data_batch: Not used.
            data_samples: Model outputs with ``gt_label``, and ``embedding`` or ``pred_label``.

        Raises:
            GLSimError: If a result lacks what is needed, or a ranking is too short.
        """
        for sample in data_samples:
            if self.mode == 'embedding':
                self.results.append(self._read_embedding(sample))
            else:
                if self.gallery is not None and self._gallery_labels is None:
                    self._gallery_labels = gallery_labels(self.gallery)
                relevant = read_relevant(sample, self._gallery_labels)
                self.results.append(score_ranking(sample, relevant, self.ks, self.whole_ranking))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Metrics of all images.

        Args:
            results: What :meth:`process` kept of each image of all processes.

        Returns:
            Per cent by name, MAP@R first, which ``save_best='auto'`` takes.

        Raises:
            GLSimError: If there are no images.
            RetrievalError: If no image has another one of its class, or an embedding is not finite.
        """
        check_images(results, type(self).__name__)
        if self.mode == 'embedding':
            values = self._search(results)
        else:
            values = average_scores(results, self.ks, self.whole_ranking)
        return {name: 100 * values[name] for name in ('MAP@R', *values)}

    def _read_embedding(self, sample: dict) -> tuple[np.ndarray, int, bool]:
        if 'embedding' not in sample:
            raise GLSimError(
                "RetrievalMetrics needs the embeddings of images: add dict(type='KeepEmbeddingsHook') to custom_hooks, "
                "or of a retriever measure mode='ranking'"
            )
        if self.query_field is not None and self.query_field not in sample:
            raise GLSimError(
                f'RetrievalMetrics: results have no field {self.query_field}, which says what is a query: name it in '
                'meta_keys of PackInputs'
            )
        is_query = self.query_field is None or bool(sample[self.query_field])
        return sample['embedding'].detach().float().cpu().numpy(), read_label(sample, type(self).__name__), is_query

    def _search(self, results: list[tuple[np.ndarray, int, bool]]) -> dict[str, float]:
        embeddings, labels = np.stack([result[0] for result in results]), np.array([result[1] for result in results])
        is_query = np.array([result[2] for result in results])
        names = (self.dataset_meta or {}).get('classes')
        names = names if names is not None and labels.max() < len(names) else None
        options: dict[str, Any] = dict(
            metric=self.metric, ks=self.ks, whole_ranking=self.whole_ranking, class_names=names
        )
        if self.query_field is None:
            self.report = evaluate_embeddings(embeddings, labels, **options)
        else:
            check_images(labels[is_query], type(self).__name__)
            check_images(labels[~is_query], type(self).__name__)
            of_gallery = embeddings[~is_query], labels[~is_query]
            self.report = evaluate_embeddings(*of_gallery, embeddings[is_query], labels[is_query], **options)
        if self.report.num_lone or self.worst_classes:
            print_log(f'image search:\n{format_report(self.report, self.worst_classes)}', logger='current')
        return self.report.metrics
