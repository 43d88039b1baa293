"""How well images find those of their class, as a metric of validation and test loops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS, METRICS

from retrieval.evaluation import RetrievalReport, evaluate_embeddings, format_report
from retrieval.metrics import metrics_of

from ..errors import GLSimError
from .class_metrics import check_images, read_label

METRIC = 'RetrievalMetrics'


def gallery_labels(config: dict, classes: Sequence[str] | None = None) -> np.ndarray:
    """Class of each image of a gallery, int64 (n,), from the config of its data set; images are not read.

    They are numbered as in ``classes``, the names of the queries' classes, if both have names; -1 is none of them.
    """
    dataset = DATASETS.build({**config, 'pipeline': []})
    labels = [np.atleast_1d(dataset.get_data_info(row).get('gt_label', ())) for row in range(len(dataset))]
    if not labels or any(label.size != 1 for label in labels):
        raise GLSimError(f'{METRIC}: each image of the gallery must have one label; name another data set as gallery')
    found = np.concatenate(labels).astype(np.int64)
    own = dataset.metainfo.get('classes')
    if not classes or not own or list(classes) == list(own):
        return found
    if not 0 <= found.min() <= found.max() < len(own):
        raise GLSimError(f'{METRIC}: the gallery has the label {found.max()}, but {len(own)} class names; correct them')
    label_of = {str(name): label for label, name in enumerate(classes)}
    return np.array([label_of.get(str(name), -1) for name in own])[found]


def read_relevant(sample: dict, labels: np.ndarray | None) -> np.ndarray:
    """Gallery rows that are relevant to a query, int64, distinct, in order.

    ``gt_label`` of the query is its class, or, without the ``labels`` (n,) of the gallery, the rows.
    """
    if labels is not None:
        return np.flatnonzero(labels == read_label(sample, METRIC))
    if 'gt_label' not in sample:
        raise GLSimError(f'{METRIC} needs the relevant gallery rows as gt_label of each query, as in InShop')
    return np.unique(sample['gt_label'].cpu().numpy())


def score_ranking(sample: dict, relevant: np.ndarray, ks: Sequence[int], whole_ranking: bool) -> np.ndarray:
    """Scores of one query's ranking, in the order of :func:`retrieval.metrics.metrics_of`; NaN if nothing is relevant.

    ``pred_label`` are gallery rows, best first, -1 for none. A ranking may end once all relevant rows are found, as the
    rest changes none of the scores; one too short to know the scores is an error.
    """
    metrics = metrics_of(ks, whole_ranking)
    if 'pred_label' not in sample:
        raise GLSimError(f"{METRIC}: results have no ranking (pred_label); use mode='embedding' with a classifier")
    if len(relevant) == 0:
        return np.full(len(metrics), np.nan)
    ranking = torch.as_tensor(sample['pred_label']).cpu().numpy().reshape(-1)
    found = np.isin(ranking, relevant)[None]
    _check_length(found, len(relevant), ks, whole_ranking)
    num_relevant = np.array([len(relevant)])
    return np.concatenate([metric.scores(found, num_relevant) for metric in metrics.values()])


def average_scores(scores: Sequence[np.ndarray], ks: Sequence[int], whole_ranking: bool) -> dict[str, float]:
    """Means of :func:`score_ranking` by name, 0 to 1, over the queries that have a relevant image."""
    table = np.stack(scores)
    counted = table[~np.isnan(table).any(axis=1)]
    if len(counted) == 0:
        raise GLSimError(f'{METRIC}: no query has a relevant image in the gallery; check the labels of both data sets')
    return dict(zip(metrics_of(ks, whole_ranking), counted.mean(axis=0).tolist()))


def _check_length(found: np.ndarray, num_relevant: int, ks: Sequence[int], whole_ranking: bool) -> None:
    length, num_found = found.shape[1], int(found.sum())
    if num_found == num_relevant:
        return
    needed = max(num_relevant, max(ks) if num_found == 0 else 1)
    if whole_ranking:
        raise GLSimError(
            f'{METRIC}: mAP needs every relevant image in the ranking, but of {num_relevant} there are {num_found} '
            f'among {length}: set topk=-1 of the retriever, or whole_ranking=False'
        )
    if length < needed:
        raise GLSimError(f'{METRIC}: rankings have {length} images, but {needed} are needed: set topk of the retriever')


MODES = ('embedding', 'ranking')


@METRICS.register_module()
class RetrievalMetrics(BaseMetric):
    """Recall@k, R-Precision, MAP@R and mAP; see :func:`retrieval.evaluation.evaluate_embeddings`.

    Reports ``retrieval/MAP@R``, ``retrieval/R-Precision``, ``retrieval/Recall@1`` and so on and ``retrieval/mAP``, per
    cent. Images whose class has no other image do not count; the log says how many.

    Args:
        ks: Values of k of Recall@k, >= 1.
        mode: ``'embedding'``: every image is searched among all others by the embeddings that
            :class:`KeepEmbeddingsHook` leaves on the results of any classifier; classes need not be those of the head.
            ``'ranking'``: the model is a retriever that ranks a gallery of its own, ``pred_label`` are gallery rows,
            best first, and ``gt_label`` the rows that are relevant, as mmpretrain's ``InShop`` has them.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``, how embeddings are compared.
        whole_ranking: Report mAP, which ranks the whole gallery for every query.
        query_field: Field of each result that is true for a query and false for an image of the gallery. Defaults to
            None: all images are both.
        gallery: Config of the data set that a retriever searches. With it ``gt_label`` is the class of a query, not the
            relevant rows.
        worst_classes: How many classes with the smallest MAP@R to log.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's :class:`BaseMetric`.

    Example::

        val_evaluator = dict(type='RetrievalMetrics', ks=(1, 5))
        custom_hooks = [dict(type='KeepEmbeddingsHook')]
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
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
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
        """Keep the embedding and the label of each image, or score its ranking."""
        for sample in data_samples:
            if self.mode == 'embedding':
                self.results.append(self._read_embedding(sample))
            else:
                if self.gallery is not None and self._gallery_labels is None:
                    self._gallery_labels = gallery_labels(self.gallery, (self.dataset_meta or {}).get('classes'))
                relevant = read_relevant(sample, self._gallery_labels)
                self.results.append(score_ranking(sample, relevant, self.ks, self.whole_ranking))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Per cent by name, MAP@R first, which ``save_best='auto'`` takes."""
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
