"""Walking through the wrappers of datasets and transforms."""

from collections.abc import Iterator


def leaf_datasets(dataset: object) -> Iterator[object]:
    """Datasets inside wrappers such as ``ConcatDataset``, ``RepeatDataset`` and ``torch.utils.data.Subset``.

    Args:
        dataset: A dataset or a wrapper with ``dataset`` or ``datasets``.

    Yields:
        Datasets that wrap no other.
    """
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner[0] is None:
        yield dataset
        return
    for child in inner:
        yield from leaf_datasets(child)


def all_transforms(transform: object) -> Iterator[object]:
    """A transform and all that it holds, as ``Compose``, ``RandomChoice`` and ``TestTimeAug`` do.

    Args:
        transform: A transform, or a list or tuple of them.

    Yields:
        Transforms, outermost first.
    """
    if isinstance(transform, (list, tuple)):
        for child in transform:
            yield from all_transforms(child)
        return
    yield transform
    for name in ('transforms', 'subroutines'):
        yield from all_transforms(getattr(transform, name, ()))
