"""Checkpoints of other models are refused by name and shape of their tensors."""

import pytest
import torch

from glsim_mm.checkpoints.addresses import weights_for
from glsim_mm.engine.hooks.run_checks import check_complete, check_fine_tuning, match_tensors
from glsim_mm.errors import GLSimError


def tensors(names: str, size: int = 1) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(size) for name in names.split()}


MODEL = tensors('backbone.a backbone.b backbone.c backbone.d head.fc')


def test_equal_names_and_shapes_match():
    found = match_tensors(MODEL, MODEL)
    assert found.fitting == list(MODEL)
    check_complete(found, 'x.pth')
    check_fine_tuning(found, 'x.pth')


def test_flat_files_and_counters_of_batch_norm():
    weights = weights_for(MODEL, {**MODEL, 'epoch': 3}, 'x.pth')
    assert list(weights) == list(MODEL)
    found = match_tensors({**MODEL, 'backbone.bn.num_batches_tracked': torch.tensor(1)}, weights)
    check_complete(found, 'x.pth')


def test_another_head_may_start_but_not_test():
    found = match_tensors(MODEL, {**MODEL, 'head.fc': torch.zeros(7)})
    check_fine_tuning(found, 'x.pth')
    with pytest.raises(GLSimError, match=r'4 of 4 backbone tensors match; of another shape: head\.fc;'):
        check_complete(found, 'x.pth')


def test_position_embedding_of_another_image_size_is_resized():
    name = 'backbone.pos_embed'
    model, other = {name: torch.zeros(1, 5, 8)}, {name: torch.zeros(1, 17, 8)}
    check_complete(match_tensors(model, other), 'x.pth')
    with pytest.raises(GLSimError):
        check_complete(match_tensors(model, {name: torch.zeros(1, 5, 16)}), 'x.pth')


@pytest.mark.parametrize('num_fitting, allowed', [(1, False), (2, True)])
def test_half_of_the_backbone_must_fit(num_fitting, allowed):
    names = list(MODEL)[:num_fitting]
    found = match_tensors(MODEL, {name: MODEL[name] for name in names})
    if allowed:
        check_fine_tuning(found, 'x.pth')
        return
    with pytest.raises(GLSimError, match=r'x\.pth was made by another architecture: 1 of 4 backbone tensors match'):
        check_fine_tuning(found, 'x.pth')


def test_message_names_a_few_tensors_only():
    with pytest.raises(GLSimError) as error:
        check_complete(match_tensors(MODEL, {}), 'x.pth')
    assert 'missing: backbone.a, backbone.b, backbone.c and 2 more' in str(error.value)
    assert '\n' not in str(error.value)
