"""What a second look is worth for recognition, selector by selector, with one encoder and nothing trained.

Every photo is encoded once, and once more for each selector: its region. Unit vectors of photo and region are added,
which is the embedding that class means and searches compare after whitening within classes. So the regions differ and
nothing else does, and a table of a dozen selectors takes minutes.
"""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from retrieval.evaluation import evaluate_embeddings
from retrieval.whitening import Whitening

from ..errors import GLSimError
from ..evaluation import MEASURES, selection_quality
from ..models import GLSimClassifier, RegionSelector
from ..models.classifiers.glsim_classifier import annotated_boxes
from ..models.utils import check_attention, record_attention
from ..progress import ProgressBar

PHOTO = 'photo alone'
_SHRINKAGE = 0.3  # that of docs/studies/experiments.md


class SeenRegions(NamedTuple):
    """Photos seen with several selectors.

    Attributes:
        labels: int64, (n,).
        photos: float32, (n, C), unit CLS tokens of the photos.
        regions: float32, (n, C), those of the regions, by name of the selector.
        boxes: int64, (n, 4), regions in pixels of what the pipeline delivers, ``x0, y0, x1, y1``, by name.
        quality: float32, (n, 6), :data:`glsim_mm.evaluation.MEASURES` of each photo by name, NaN without a box.
        frame: Pixels of what the pipeline delivers.

    Example::

        seen = see_regions(model, loader, {'gls': model.neck})
        seen.embeddings('gls')  # (n, C)
    """

    labels: Tensor
    photos: Tensor
    regions: dict[str, Tensor]
    boxes: dict[str, Tensor]
    quality: dict[str, Tensor]
    frame: int

    def embeddings(self, name: str) -> Tensor:
        """Unit sums of photo and region, float32 (n, C); of :data:`PHOTO`, the photo."""
        return self.photos if name == PHOTO else F.normalize(self.photos + self.regions[name], dim=1)


@torch.no_grad()
def see_regions(model: GLSimClassifier, loader: DataLoader, necks: Mapping[str, RegionSelector]) -> SeenRegions:
    """Encode photos of a loader, and the region of each selector, which must select one.

    The loader gives batches of a test pipeline with labels and, for quality and for selectors that need them,
    annotated boxes. ``model`` is in evaluation mode.
    """
    for name, neck in necks.items():
        if neck.policy.num_boxes != 1:
            raise GLSimError(f'{name} selects {neck.policy.num_boxes} regions, but one is compared')
    parts: dict[str, list[Tensor]] = {}
    frame = 0
    device = next(model.parameters()).device
    with ProgressBar(len(loader), 'encoding', unit='batches') as bar:
        for batch in loader:
            data = model.data_preprocessor(batch, training=False)
            images, samples = data['inputs'], data['data_samples']
            look, frame = model.first_look(images), images.shape[-2] * images.shape[-1]
            with record_attention() as attention:
                tokens = model.backbone(look)[-1]
            annotated = annotated_boxes(samples, device)
            _add(parts, 'labels', torch.cat([sample.gt_label for sample in samples]))
            own = model.backbone.image_features(tokens) if hasattr(model.backbone, 'image_features') else tokens[:, 0]
            _add(parts, 'photos', F.normalize(own.float(), dim=1))
            seen: dict[tuple[int, ...], Tensor] = {}
            for name, neck in necks.items():
                if neck.needs_attention:
                    check_attention(attention, model.backbone, tokens, name)
                found = neck(tokens, images, model.layout, attention, annotated, **model.crop_settings(images))
                _add(parts, f'boxes {name}', found.boxes)
                _add(parts, f'regions {name}', _encode_new(model, found.boxes, found.crops, seen))
                quality = torch.full((len(images), len(MEASURES)), float('nan'))
                if annotated is not None:
                    place = found.grid, model.layout.patch_size, (images.shape[-2], images.shape[-1])
                    quality = selection_quality(found.scores, found.boxes, annotated, *place)
                _add(parts, f'quality {name}', quality)
            bar.advance()
    whole = {key: torch.cat(part) for key, part in parts.items()}
    regions, boxes, quality = (
        {name: whole[f'{kind} {name}'] for name in necks} for kind in ('regions', 'boxes', 'quality')
    )
    return SeenRegions(whole['labels'], whole['photos'], regions, boxes, quality, frame)


def _add(parts: dict[str, list[Tensor]], key: str, values: Tensor) -> None:
    parts.setdefault(key, []).append(values.cpu())


def _encode_new(model: GLSimClassifier, boxes: Tensor, crops: Tensor, seen: dict[tuple[int, ...], Tensor]) -> Tensor:
    """Unit CLS tokens (B, C) of a batch's crops, of which those with a box that was ``seen`` are not encoded again."""
    keys = [(number, *box) for number, box in enumerate(boxes.tolist())]
    new = [number for number, key in enumerate(keys) if key not in seen]
    if new:
        rows = F.normalize(model.encode_crops(crops[new]).float(), dim=1)
        seen.update({keys[number]: row for number, row in zip(new, rows)})
    return torch.stack([seen[key] for key in keys])


def class_mean_hits(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> np.ndarray:
    """Whether the mean of the right class is the nearest, bool (n,), of unit rows (n, C).

    Rows are compared by cosine after :func:`within_class_space` of the training rows: frozen features share directions
    that tell photos apart and classes not, which would hide what a region is worth.
    """
    learned = within_class_space(train, train_labels)
    train, test = learned(train), learned(test)
    classes, numbers = train_labels.unique(return_inverse=True)
    means = torch.zeros(len(classes), train.shape[1]).index_add(0, numbers, train)
    nearest = (test @ F.normalize(means, dim=1).T).argmax(dim=1)
    return (classes[nearest] == test_labels).numpy()


def within_class_space(rows: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Whitening within classes, learned from rows (n, C), of unit length behind it; rows themselves of too few classes.

    See :class:`retrieval.whitening.Whitening`.
    """
    if (labels.bincount() > 1).sum() < 2:
        return lambda given: given
    learned = Whitening.fit_classes(rows.numpy(), labels.tolist(), _SHRINKAGE)
    return lambda given: F.normalize(torch.from_numpy(learned.apply(given.numpy())).float(), dim=1)


def held_out_hits(rows: Tensor, labels: Tensor, folds: int = 5, seed: int = 0) -> np.ndarray:
    """:func:`class_mean_hits` of every photo by means of the other folds; each class is spread over all folds."""
    fold = fold_of(labels, folds, seed)
    hits = np.zeros(len(labels), bool)
    for number in range(folds):
        is_test = fold == number
        if is_test.any():
            hits[is_test.numpy()] = class_mean_hits(rows[~is_test], labels[~is_test], rows[is_test], labels[is_test])
    return hits


def fold_of(labels: Tensor, folds: int, seed: int = 0) -> Tensor:
    """Fold of each photo, int64 (n,) below ``folds``: photos of a class are dealt out in turn, in a random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    fold = torch.zeros(len(labels), dtype=torch.int64)
    for label in labels.unique():
        own = order[labels[order] == label]
        fold[own] = torch.arange(len(own)) % folds
    return fold


def retrieval_scores(
    rows: Tensor, labels: Tensor, known: Tensor, known_labels: Tensor, halves: int = 5, seed: int = 0
) -> np.ndarray:
    """R@1 and MAP@R, per cent, of searches among photos of classes that were not seen: (2 * halves, 2).

    The classes are halved ``halves`` times at random, and both sides searched, each photo among the others of its side,
    after :func:`within_class_space` of the ``known`` rows of the other side.
    """
    classes = labels.unique()
    found = []
    for number in range(halves):
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed + number))
        for side in (classes[order[: len(classes) // 2]], classes[order[len(classes) // 2 :]]):
            chosen, other = torch.isin(labels, side), ~torch.isin(known_labels, side)
            searched = within_class_space(known[other], known_labels[other])(rows[chosen])
            report = evaluate_embeddings(searched.numpy(), labels[chosen].tolist(), ks=(1,), whole_ranking=False)
            found.append((100 * report.metrics['Recall@1'], 100 * report.metrics['MAP@R']))
    return np.array(found)


class Paired(NamedTuple):
    """How much more of the same photos one way gets right than another, per cent.

    Attributes:
        gain: Mean difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Probability of such a difference, or a larger one either way, if none were there (exact McNemar test).
    """

    gain: float
    low: float
    high: float
    p: float


def compare_hits(first: np.ndarray, second: np.ndarray) -> Paired:
    """Second minus first, bool (n,) each, of the same photos."""
    differences = second.astype(float) - first.astype(float)
    gain, error = differences.mean(), differences.std() / len(differences) ** 0.5
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return Paired(100 * gain, 100 * (gain - 1.96 * error), 100 * (gain + 1.96 * error), _sign_test(won, lost))


def _sign_test(won: int, lost: int) -> float:
    """Two-sided probability of as uneven a split of ``won + lost`` fair coins."""
    total, least = won + lost, min(won, lost)
    return min(1.0, 2 * sum(comb(total, number) for number in range(least + 1)) / 2**total)


class RegionRow(NamedTuple):
    """What one selector does for a model; per cent, NaN where it was not measured.

    Attributes:
        name: Of the selector, or :data:`PHOTO`.
        accuracy: Top-1 of class means.
        gain: Of accuracy, over the row that the table is compared with.
        recall: R@1 of searches, mean over halves of the classes.
        map_at_r: MAP@R of them.
        area: Mean share of the image that the regions cover.
        iou: Mean overlap with the annotated boxes, over the photos that have one.
        hits: Who is right, bool (n,).
    """

    name: str
    accuracy: float
    gain: Paired
    recall: float
    map_at_r: float
    area: float
    iou: float
    hits: np.ndarray


def row_of(
    name: str, hits: np.ndarray, reference: np.ndarray, seen: SeenRegions, scores: np.ndarray | None = None
) -> RegionRow:
    """A row from who is right, bool (n,), with a selector and with the one to compare with.

    ``scores`` are those of :func:`retrieval_scores`.
    """
    nan = float('nan')
    recall, map_at_r = (nan, nan) if scores is None else scores.mean(axis=0).tolist()
    area = iou = nan
    if name != PHOTO:
        sides = (seen.boxes[name][:, 2:] - seen.boxes[name][:, :2]).double()
        area = 100 * sides.prod(dim=1).mean().item() / seen.frame
        iou = 100 * seen.quality[name][:, MEASURES.index('iou')].nanmean().item()
    return RegionRow(name, 100 * hits.mean(), compare_hits(reference, hits), recall, map_at_r, area, iou, hits)


def study_regions(
    model: GLSimClassifier, train: DataLoader, test: DataLoader, necks: Mapping[str, RegionSelector], halves: int = 5
) -> list[RegionRow]:
    """Recognition by class means of ``train``, and search among ``test``, with the photo alone and every selector.

    Gains are over the first selector. See :func:`see_regions` for the loaders.
    """
    known, seen = see_regions(model, train, necks), see_regions(model, test, necks)
    names = [PHOTO, *necks]
    hits = {
        name: class_mean_hits(known.embeddings(name), known.labels, seen.embeddings(name), seen.labels)
        for name in names
    }
    rows = []
    for name in names:
        scores = retrieval_scores(seen.embeddings(name), seen.labels, known.embeddings(name), known.labels, halves)
        rows.append(row_of(name, hits[name], hits[names[1]], seen, scores))
    return rows


def format_regions(rows: Sequence[RegionRow], reference: str) -> str:
    """A table of 80 columns and what its columns mean; ``reference`` is the row of which all others are gains."""
    has_search = any(np.isfinite(row.recall) for row in rows)
    has_boxes = any(np.isfinite(row.iou) for row in rows)
    lines = [f'{"region":<34}{"top-1":>7}{"gain":>7}{"R@1":>7}{"MAP@R":>7}{"area":>7}{"IoU":>7}']
    for row in rows:
        values = row.accuracy, None if row.name == reference else row.gain.gain, row.recall, row.map_at_r
        cells = ''.join(_cell(value) for value in (*values, row.area, row.iou))
        name = row.name if len(row.name) <= 33 else f'{row.name[:32]}…'
        lines.append(f'{name:<34}{cells}{"" if row.name == reference or row.gain.p >= 0.05 else " *"}')
    lines.append('')
    lines.append(f'per cent; gain: in top-1, over {reference}, * if p < .05 in a paired test')
    if has_search:
        lines.append('R@1, MAP@R: of searches among the other half of the classes')
    lines.append('area: of the image' + ('; IoU: with the annotated box' if has_boxes else ''))
    return '\n'.join(lines)


def _cell(value: float | None) -> str:
    return f'{value:>7.1f}' if value is not None and np.isfinite(value) else f'{"":>7}'
