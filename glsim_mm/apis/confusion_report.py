"""The most confused classes of a test, as a table in the log and as a report with pictures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmcv.transforms import TestTimeAug
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy, SingleLabelMetric

from ..errors import GLSimError
from ..evaluation import (
    CalibrationError,
    ClassDeviation,
    ConfusionPairs,
    HierarchicalAccuracy,
    ImageResult,
    format_pairs,
)
from ..output_files import check_output_file
from ..visualization import ClassAccuracy, PairPictures, Prediction, write_error_report_page
from .dataset_pictures import class_names, predict_at, report_settings, with_relative_paths

_SINGLE_LABEL_METRICS = (Accuracy, SingleLabelMetric, CalibrationError, ClassDeviation, HierarchicalAccuracy)
MISTAKES_PER_PAIR = 3
MISTAKES_IN_REPORT = 30


def add_confusion_pairs(evaluator: Evaluator) -> ConfusionPairs | None:
    """Have a test note which classes are confused, where every image has one label.

    The metric is added to the evaluator unless it is there; None if no metric of the test is one of single-label
    classification.
    """
    found = next((metric for metric in evaluator.metrics if isinstance(metric, ConfusionPairs)), None)
    if found is None and any(isinstance(metric, _SINGLE_LABEL_METRICS) for metric in evaluator.metrics):
        found = ConfusionPairs()
        evaluator.metrics.append(found)
    return found


def log_confusion_pairs(runner: Runner, confusions: ConfusionPairs) -> None:
    """Write the table of the last evaluation to the log."""
    if confusions.pairs:
        table = format_pairs(confusions.pairs, class_names(runner.test_dataloader.dataset))
        runner.logger.info('most confused classes:\n%s', table)


def check_error_report(runner: Runner, confusions: ConfusionPairs | None, path: str | Path) -> None:
    """Raise :class:`GLSimError` if :func:`write_error_report` could not work, before time is spent on a test."""
    dataset = runner.test_dataloader.dataset
    if confusions is None:
        raise GLSimError(
            'an error report needs one label per image and a metric of classification, such as Accuracy, in '
            'test_evaluator; leave out --error-report'
        )
    if not isinstance(dataset, BaseDataset):
        raise GLSimError(
            f'an error report needs a single test set, not a {type(dataset).__name__}; test its parts one by one'
        )
    pack = dataset.pipeline.transforms[-1]
    if isinstance(pack, TestTimeAug):
        raise GLSimError('an error report shows one view of each image; leave out test-time augmentation or the report')
    if 'sample_idx' not in getattr(pack, 'meta_keys', ()):
        raise GLSimError("an error report needs 'sample_idx' in meta_keys of the test pipeline's PackInputs; add it")
    check_output_file(path)


def write_error_report(
    runner: Runner, confusions: ConfusionPairs, path: str | Path, metrics: Mapping[str, float]
) -> Path:
    """Write a report of a finished test: metrics, confused pairs with pictures, worst mistakes, accuracy by class.

    The images in it go through the model once more, for the regions it looked at. Call it on the first process, with
    what :func:`check_error_report` has accepted.
    """
    dataset = runner.test_dataloader.dataset
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    drawn = []
    for pair in confusions.pairs:
        images = [one for one in confusions.images if (one.label, one.prediction) == (pair.label, pair.prediction)]
        drawn.append(_by_score(images)[:MISTAKES_PER_PAIR])
    references = [_example_of(pair.prediction, confusions.images) for pair in confusions.pairs]
    worst = _by_score(image for image in confusions.images if image.prediction != image.label)[:MISTAKES_IN_REPORT]
    wanted = {image.position for image in [*worst, *sum(drawn, []), *(image for image in references if image)]}
    pictures = dict(predict_at(model, dataset, sorted(wanted)))
    names = class_names(dataset)
    pairs = [
        PairPictures(
            truth=_name(pair.label, names),
            predicted=_name(pair.prediction, names),
            images=pair.images,
            share=pair.share,
            mistakes=_pictures(images, pictures, dataset, names),
            reference=next(iter(_pictures([reference] if reference else [], pictures, dataset, names)), None),
        )
        for pair, images, reference in zip(confusions.pairs, drawn, references)
    ]
    settings = report_settings(runner.cfg, runner.cfg.load_from or '', model, title='What the model confuses')
    mistakes = _pictures(worst, pictures, dataset, names)
    return write_error_report_page(path, pairs, mistakes, _accuracies(confusions.images, names), metrics, settings)[0]


def _example_of(label: int, images: Sequence[ImageResult]) -> ImageResult | None:
    """The image of a class that is recognised best, else any of it."""
    of_class = _by_score(image for image in images if image.label == label)
    return next((image for image in of_class if image.prediction == label), next(iter(of_class), None))


def _by_score(images: Iterable[ImageResult]) -> list[ImageResult]:
    return sorted(images, key=lambda image: (-image.score, image.position))


def _pictures(
    images: Sequence[ImageResult],
    pictures: Mapping[int, Prediction],
    dataset: BaseDataset,
    names: Sequence[str] | None,
) -> list[Prediction]:
    """Pictures of images that could be read, with paths as a report shows them.

    Class and score are those of the test: alone in its batch, or without mixed precision, an image's can differ.
    """
    found = [
        replace(pictures[image.position], predicted=_name(image.prediction, names), score=image.score)
        for image in images
        if image.position in pictures
    ]
    return with_relative_paths(found, dataset)


def _accuracies(images: Sequence[ImageResult], names: Sequence[str] | None) -> list[ClassAccuracy]:
    totals = Counter(image.label for image in images)
    right = Counter(image.label for image in images if image.prediction == image.label)
    return [ClassAccuracy(_name(label, names), count, right[label]) for label, count in totals.items()]


def _name(label: int, names: Sequence[str] | None) -> str:
    return str(label) if names is None else names[label]
