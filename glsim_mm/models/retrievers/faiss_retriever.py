"""mmpretrain's image-to-image retriever on FAISS."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmpretrain.models import ImageClassifier, ImageToImageRetriever
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from ...errors import GLSimError
from ...output_files import write_file
from ..classifiers import GLSimClassifier
from ..necks import SelectedRegions
from .prototypes import (
    GalleryPrototype,
    Prototype,
    VectorPrototype,
    build_loader,
    encode_gallery,
    open_prototype,
    scatter_scores,
)

_METRICS = {'cosine_similarity': 'cosine', 'cosine': 'cosine', 'ip': 'ip', 'l2': 'l2'}


@MODELS.register_module()
class FaissRetriever(ImageToImageRetriever):
    """Ranks gallery images with FAISS; takes the place of mmpretrain's ``ImageToImageRetriever`` in its configs.

    Arguments, predictions, hooks, metrics and inferencer are those of mmpretrain. What differs: the search does not
    compare by broadcasting; a gallery that several processes encode is right whatever their number; saved prototypes
    are read without unpickling; the encoder may be a classifier, :class:`GLSimClassifier` first of all, whose head
    makes the embeddings (``stage='pre_logits'``) and the loss; and the gallery may be one on disk.

    ``pred_label`` are the gallery's rows, best first; ``pred_score`` (M,) has a score for every row of the gallery, as
    mmpretrain's metrics expect it.

    Args:
        image_encoder: A classifier, or modules whose last output is (B, C).
        prototype: What to search: a data loader or its config, a data set or its config, the path of a tensor
            (``.pth``, ``.npy``), a gallery on disk (folder or ``milvus://`` URI) or a tensor (M, C).
        head: Head with the loss. Defaults to None, the classifier's own.
        similarity_fn: ``'cosine_similarity'``, ``'ip'`` (inner product) or ``'l2'`` (minus the squared Euclidean
            distance).
        topk: Length of ``pred_label``; -1 ranks the whole gallery.
        full_scores: Score every row of the gallery. False: rows beyond the first ``topk`` get -inf, which is faster;
            metrics of mmpretrain must then ask for no more than ``topk``.
        preset: How FAISS searches embeddings that are encoded or read from a file, see :mod:`retrieval.index`; others
            than ``'flat'`` are approximate, so ``full_scores=False`` goes with them.
        space: Embeddings of a gallery on disk to search. Defaults to None, its first.
        **kwargs: ``pretrained``, ``train_cfg``, ``data_preprocessor`` and ``init_cfg`` of mmpretrain's.

    Raises:
        GLSimError: If the similarity is unknown, or the arguments contradict each other.

    Example::

        model = dict(
            type='FaissRetriever',
            image_encoder=dict(type='GLSimClassifier', backbone=backbone, head=head),
            prototype='gallery',  # a folder that glsim build wrote
            similarity_fn='cosine_similarity',
        )
    """

    def __init__(
        self,
        image_encoder: Any,
        prototype: Any,
        head: dict | None = None,
        similarity_fn: str = 'cosine_similarity',
        topk: int = -1,
        full_scores: bool = True,
        preset: str = 'flat',
        space: str | None = None,
        **kwargs,
    ) -> None:
        if similarity_fn not in _METRICS:
            raise GLSimError(
                f'FaissRetriever: similarity_fn must be one of {", ".join(_METRICS)}, got {similarity_fn!r}; for a '
                'function of your own use ImageToImageRetriever'
            )
        if topk < 1 and (topk != -1 or not full_scores):
            raise GLSimError(f'FaissRetriever: topk={topk}; set a number of gallery images, or -1 and full_scores=True')
        if full_scores and preset != 'flat':
            raise GLSimError(f'FaissRetriever: preset={preset!r} does not score the whole gallery: full_scores=False')
        if hasattr(prototype, '__getitem__') and not isinstance(prototype, (str, dict, Tensor)):
            prototype = build_loader(prototype)
        super().__init__(image_encoder, prototype, head, similarity_fn=similarity_fn, topk=topk, **kwargs)
        self.metric = _METRICS[similarity_fn]
        self.full_scores = full_scores
        self.preset = preset
        self.space = space
        self.gallery: Prototype | None = None

    @property
    def similarity_fn(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Compares embeddings (N, C) with others (M, C): (N, M), the larger the more alike."""

        def compare(queries: Tensor, gallery: Tensor) -> Tensor:
            scores = VectorPrototype(_to_numpy(gallery), self.metric).all_scores(_to_numpy(queries))
            return torch.from_numpy(scores).to(queries.device)

        return compare

    @property
    def prototype_vecs(self) -> Tensor:
        """Embeddings of the gallery, float32 (M, C), on the CPU; of length 1 for ``'cosine_similarity'``."""
        return torch.from_numpy(self._prepared().vectors())

    def extract_feat(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Embeddings (B, C) that a classifier makes of normalised images (B, 3, H, W), or another encoder's output."""
        return self._embed(inputs)[0] if isinstance(self.image_encoder, ImageClassifier) else self.image_encoder(inputs)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses by name of a batch, those of the retriever's head or of the classifier that encodes."""
        if self._is_encoded() or isinstance(self.gallery, GalleryPrototype):
            self.prototype_inited = False  # the encoder is about to change
        if self.head is None and getattr(self.image_encoder, 'head', None) is not None:
            return self.image_encoder.loss(inputs, data_samples)
        if self.head is None:
            raise GLSimError(
                'FaissRetriever has no head to train: set model.head, or image_encoder.head of a classifier'
            )
        feats = self.extract_feat(inputs)
        return self.head.loss((feats,) if isinstance(feats, Tensor) else feats, data_samples)

    def matching(self, inputs: Tensor) -> dict[str, Tensor]:
        """Search the gallery for embeddings (N, C).

        Returns:
            ``score`` (N, M) of every gallery row; ``pred_label`` (N, K) rows, best first, and ``pred_score`` (N, K)
            theirs; K is M for ``topk=-1``, otherwise at most ``topk``.

        Raises:
            GLSimError: If every row must have a score, and a server finds fewer.
        """
        gallery = self._prepared()
        count = len(gallery) if self.topk == -1 else min(self.topk, len(gallery))
        queries = _to_numpy(inputs)
        scores, rows = gallery.search(queries, count)
        table = gallery.all_scores(queries) if self.full_scores and count < len(gallery) else None
        table = scatter_scores(len(gallery), scores, rows, table)
        if self.full_scores and np.isneginf(table).any():
            raise GLSimError(
                "the retriever's gallery does not score every image: set topk and full_scores=False of FaissRetriever"
            )
        found = dict(score=table, pred_label=rows, pred_score=scores)
        return {name: torch.from_numpy(array).to(inputs.device) for name, array in found.items()}

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> list[DataSample]:
        """Rank the gallery for normalised images (B, 3, H, W); data samples are filled and returned.

        They have ``pred_label`` and ``pred_score``, see above; those of a gallery on disk ``gallery_ids`` (K,), the ids
        of ``pred_label``; and those of a :class:`GLSimClassifier` where it looked, see :meth:`GLSimClassifier.predict`.
        """
        gallery = self._prepared()
        embeddings, regions = self._embed(inputs, data_samples)
        result = self.matching(embeddings)
        samples = self._get_predictions(result, data_samples)
        if isinstance(gallery, GalleryPrototype):
            for sample, ids in zip(samples, gallery.ids_of(result['pred_label'].cpu().numpy())):
                sample.set_field(torch.from_numpy(ids), 'gallery_ids')
        return samples if regions is None else self.image_encoder.show_regions(samples, regions)

    @torch.no_grad()
    def prepare_prototype(self) -> None:
        """Encode, read or open the gallery, anew if that was done before.

        In a distributed run all processes call this together; each encodes its share of a data set, and reads files
        itself.
        """
        self.gallery = None  # two galleries may not fit into memory
        if self._is_encoded():
            modes = {module: module.training for module in self.modules()}
            self.eval()
            vectors = encode_gallery(build_loader(self.prototype), self._encode_batch)
            for module, training in modes.items():
                module.training = training
            self.gallery = VectorPrototype(vectors, self.metric, self.preset)
        elif isinstance(self.prototype, Tensor):
            self.gallery = VectorPrototype(_to_numpy(self.prototype), self.metric, self.preset)
        else:
            self.gallery = open_prototype(self.prototype, self.metric, self.preset, self.space)
            if isinstance(self.gallery, GalleryPrototype) and isinstance(self.image_encoder, ImageClassifier):
                self.gallery.check_weights(self.image_encoder)
        self.prototype_inited = True

    def dump_prototype(self, path: str) -> None:
        """Save the embeddings of the gallery, as mmpretrain's retriever reads them too; the main process writes."""
        vectors = self.prototype_vecs
        if is_main_process():
            buffer = io.BytesIO()
            torch.save(vectors, buffer)
            write_file(path, buffer.getvalue())

    def _prepared(self) -> Prototype:
        if not self.prototype_inited or self.gallery is None:
            self.prepare_prototype()
        return self.gallery  # type: ignore[return-value]

    def _is_encoded(self) -> bool:
        return isinstance(self.prototype, (dict, DataLoader))

    def _encode_batch(self, batch: dict) -> np.ndarray:
        data = self.data_preprocessor(batch, False)
        return _to_numpy(self._embed(data['inputs'], data['data_samples'])[0])

    def _embed(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None
    ) -> tuple[Tensor, SelectedRegions | None]:
        """Embeddings (B, C), and of a :class:`GLSimClassifier` the selected regions."""
        encoder, regions = self.image_encoder, None
        if isinstance(encoder, GLSimClassifier):
            class_tokens, regions, _ = encoder.encode(inputs, data_samples=data_samples)
            feats = encoder.head.pre_logits((class_tokens,))
        elif isinstance(encoder, ImageClassifier):
            feats = encoder.extract_feat(inputs, stage='pre_logits')
        else:
            feats = encoder(inputs)
        while not isinstance(feats, Tensor):
            feats = feats[-1]
        return feats, regions


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
