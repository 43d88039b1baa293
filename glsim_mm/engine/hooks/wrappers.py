"""Access to what wrappers of models, data sets and transforms hold."""

from collections.abc import Iterator

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside distributed wrappers and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def all_transforms(transform: object) -> Iterator[object]:
    """A transform, or a list of them, and all that it holds as ``Compose`` or ``TestTimeAug`` do, outermost first."""
    if isinstance(transform, (list, tuple)):
        for child in transform:
            yield from all_transforms(child)
        return
    yield transform
    for name in ('transforms', 'subroutines'):
        yield from all_transforms(getattr(transform, name, ()))
