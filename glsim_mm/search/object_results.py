"""What was found in photos as mmdet's data samples, text, JSON and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

from retrieval.errors import RetrievalError

from ..images.photos import ImageItem, read_photo
from ..visualization.panel import DrawnObject, draw_objects
from .object_search import FoundObject, PhotoObjects

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample


def to_data_samples(results: Sequence[PhotoObjects], k: int = 5) -> list[DetDataSample]:
    """Results as mmdet has them.

    ::

        sample = to_data_samples(search('photo.jpg'))[0]
        print(sample.pred_instances.bboxes, sample.pred_instances.fine_names)

    Args:
        results: What :class:`ObjectSearch` found.
        k: Columns of the neighbours.

    Returns:
        One per photo, with ``img_path``, ``ori_shape`` and ``pred_instances`` of n objects: the detector's ``bboxes``
        (n, 4), ``scores`` and ``labels`` (n,); ``fine_labels`` (n,), -1 for none, and ``fine_scores`` (n,), 0 for none;
        ``fine_names``, a list; ``regions`` (n, 4), the area that was looked at where the model selects none;
        ``neighbor_ids`` (n, k), -1 for none, ``neighbor_scores`` (n, k), NaN for none, and ``neighbor_labels``, n
        lists.

    Raises:
        RetrievalError: If mmdet is not installed.
    """
    try:
        from mmdet.structures import DetDataSample
    except ImportError as error:
        raise RetrievalError(f'{error}: data samples of mmdet need mmdet (docs/guides/downstream.md)') from error
    samples = []
    for result in results:
        objects = result.objects
        ids, scores = np.full((len(objects), k), -1, np.int64), np.full((len(objects), k), np.nan, np.float32)
        for row, one in enumerate(objects):
            for column, hit in enumerate(one.hits[:k]):
                ids[row, column], scores[row, column] = hit.record.id, hit.score
        instances = InstanceData(
            bboxes=torch.tensor([one.box for one in objects]).reshape(-1, 4),
            scores=torch.tensor([one.detector_score for one in objects]),
            labels=torch.tensor([one.detector_label for one in objects], dtype=torch.long),
            fine_labels=torch.tensor([one.label for one in objects], dtype=torch.long),
            fine_scores=torch.tensor([one.classes[0][1] if one.classes else 0.0 for one in objects]),
            fine_names=[one.classes[0][0] if one.classes else '' for one in objects],
            regions=torch.tensor([one.region or one.area for one in objects]).reshape(-1, 4),
            neighbor_ids=torch.from_numpy(ids),
            neighbor_scores=torch.from_numpy(scores),
            neighbor_labels=[[hit.record.label for hit in one.hits[:k]] for one in objects],
        )
        sample = DetDataSample(metainfo=dict(img_path=result.path, ori_shape=result.shape))
        sample.pred_instances = instances
        samples.append(sample)
    return samples


def objects_to_json(results: Sequence[PhotoObjects]) -> list[dict[str, Any]]:
    """Results in types that JSON knows: ``path``, ``height``, ``width`` and ``objects``; ``error`` where not read."""
    return [
        dict(
            path=result.path,
            height=result.shape[0],
            width=result.shape[1],
            objects=[_object_to_json(one) for one in result.objects],
            **({'error': result.error} if result.error else {}),
        )
        for result in results
    ]


def format_objects(results: Sequence[PhotoObjects]) -> str:
    """Results as text: a line for each object, its likeliest classes and nearest rows below."""
    lines = []
    for result in results:
        lines.append(_printable(result.path or 'image'))
        if result.error:
            lines.append(f'  cannot be read: {_printable(result.error)}')
        elif not result.objects:
            lines.append('  no objects')
        for number, one in enumerate(result.objects, start=1):
            box = ', '.join(f'{value:.0f}' for value in one.box)
            lines.append(f'  {number}. {_printable(one.detector_name)} {one.detector_score:.2f} at ({box})')
            if one.classes:
                lines.append(
                    '     class: ' + ', '.join(f'{_printable(name)} {score:.2f}' for name, score in one.classes[:3])
                )
            for hit in one.hits:
                label = _printable(hit.record.label or hit.record.path or f'id {hit.record.id}')
                lines.append(f'     {hit.rank}: {hit.score:.4f}  {label}')
    return '\n'.join(lines)


def write_pictures(results: Sequence[PhotoObjects], folder: str | Path) -> list[Path]:
    """Draw what was found: one JPEG per photo, named after it; a number is added where names are equal.

    Args:
        results: Photos in memory and unreadable ones are left out.
        folder: Where to write; made if it is not there.

    Raises:
        RetrievalError: If a file cannot be written.
    """
    written: list[Path] = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for result in results:
            if result.error or not result.path:
                continue
            pixels = read_photo(ImageItem(result.path)).pixels[:, :, ::-1]
            drawn = draw_objects(pixels, [DrawnObject(one.box, _caption(one), one.region) for one in result.objects])
            name, number = f'{Path(result.path).stem}.jpg', 1
            while Path(folder) / name in written:
                number += 1
                name = f'{Path(result.path).stem}_{number}.jpg'
            Image.fromarray(drawn).save(Path(folder) / name, quality=92)
            written.append(Path(folder) / name)
    except OSError as error:
        raise RetrievalError(f'{folder} cannot be written to ({error.strerror}); choose another folder') from error
    return written


def _caption(one: FoundObject) -> str:
    if one.classes:
        return f'{one.classes[0][0]} {one.classes[0][1]:.2f}'
    if one.hits:
        return f'{one.hits[0].record.label or one.hits[0].record.path} {one.hits[0].score:.2f}'
    return f'{one.detector_name} {one.detector_score:.2f}'


def _object_to_json(one: FoundObject) -> dict[str, Any]:
    return dict(
        box=list(one.box),
        detector=dict(label=one.detector_label, name=one.detector_name, score=one.detector_score),
        area=list(one.area),
        region=None if one.region is None else list(one.region),
        classes=[dict(name=name, score=score) for name, score in one.classes],
        hits=[
            dict(rank=hit.rank, score=hit.score, id=int(hit.record.id), label=hit.record.label, path=hit.record.path)
            for hit in one.hits
        ],
    )


def _printable(text: str) -> str:
    return ''.join(character if character.isprintable() else ' ' for character in text)
