"""Numbers of the authors' code, forward and backward."""

import shutil

import pytest
import torch
from golden_files import LOCAL_DIR, TOLERANCE, Golden, build_golden_model, load_golden
from mmpretrain.structures import DataSample
from reference_glsim import glsim

from glsim_mm.checkpoints.authors_names import read_official
from glsim_mm.errors import GLSimError
from glsim_mm.models.utils.token_layout import token_layout
from glsim_mm.ops import global_local_similarity

LOCAL = ('cos_48px_p8_top6', 'l1_42px_p14_top2', 'l2_64px_p16_top3_inclusive')
SHARED = ('cos_96px_p16_top8', 'l2_112px_p14_top4', 'cos_64px_p16_top2_agg2')


@pytest.fixture(params=[*(f'local/{name}' for name in LOCAL), *(f'shared/{name}' for name in SHARED)])
def golden(request) -> Golden:
    place, name = request.param.split('/')
    folder = LOCAL_DIR if place == 'local' else request.getfixturevalue('shared_root') / 'golden'
    return load_golden(folder, name)


def assert_near(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance


def data_samples(labels: torch.Tensor) -> list[DataSample]:
    return [DataSample().set_gt_label(int(label)) for label in labels]


def test_reference_implementation_gives_the_golden_numbers(golden):
    results = glsim(golden.state_dict, golden.arrays['images'], golden.arrays['labels'], golden.settings)
    for name, value in results.items():
        assert_near(value, golden.arrays[name].to(value.dtype), 2e-3 if name == 'crops' else TOLERANCE)


@torch.no_grad()
def test_forward(golden):
    arrays = golden.arrays
    model = build_golden_model(golden)
    tokens = model.extract_feat(arrays['images'], stage='backbone')[-1]
    assert_near(tokens, arrays['encoder_tokens'])
    values = global_local_similarity(tokens[:, 0], tokens[:, 1:], golden.settings['similarity'])
    assert_near(values, arrays['similarity'])

    regions = model.extract_feat(arrays['images'], stage='selector')
    assert torch.equal(regions.indices.sort(dim=1).values, arrays['topk_indices'])
    assert torch.equal(regions.boxes, arrays['boxes_xyxy'])
    assert_near(regions.crops, arrays['crops'].float(), 2e-3)  # stored as float16

    (class_tokens,) = model.extract_feat(arrays['images'], stage='neck')
    assert_near(class_tokens, arrays['cls_tokens'])
    assert_near(model.head.aggregate(class_tokens), arrays['aggregator_out'])
    assert_near(model.extract_feat(arrays['images'], stage='pre_logits'), arrays['aggregator_out'][:, 0])
    assert_near(model(arrays['images'], mode='tensor'), arrays['logits'])


def test_loss_and_gradients(golden):
    model = build_golden_model(golden)
    loss = model.loss(golden.arrays['images'], data_samples(golden.arrays['labels']))['loss']
    assert_near(loss, golden.arrays['loss_label_smoothing_0_1'])
    loss.backward()
    norms = {name: torch.tensor([value]) for name, value in golden.settings['grad_norms'].items()}
    expected = {name: value.norm().item() for name, value in read_official(norms)[0].items()}
    actual = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, rel=1e-3), name


@torch.no_grad()
def test_one_image_at_a_time_equals_the_batch(golden):
    model = build_golden_model(golden)
    for i, image in enumerate(golden.arrays['images']):
        sample = model.predict(image[None])[0]
        assert_near(model(image[None])[0], golden.arrays['logits'][i])
        assert torch.equal(sample.selected_box.long(), golden.arrays['boxes_xyxy'][i])


@pytest.mark.slow
def test_compiled_model_forward_and_backward():
    """As far as the backend, which takes a minute for the whole model."""
    golden = load_golden(LOCAL_DIR, LOCAL[0])
    model = build_golden_model(golden)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    logits = compiled(golden.arrays['images'])
    assert_near(logits, golden.arrays['logits'])
    torch.nn.functional.cross_entropy(logits, golden.arrays['labels'], label_smoothing=0.1).backward()
    for parameter_name, value in golden.settings['grad_norms'].items():
        if parameter_name.startswith(('head.', 'encoder_norm.')):
            (new_name,) = read_official({parameter_name: torch.zeros(1)})[0]
            gradient = model.get_parameter(new_name).grad
            assert gradient.norm().item() == pytest.approx(value, rel=1e-3), parameter_name


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which('g++') or shutil.which('clang++')), reason='inductor needs a C++ compiler')
@torch.no_grad()
def test_regions_by_inductor():
    """The default backend, of the part that no other model has: from tokens and images to boxes and crops."""
    golden = load_golden(LOCAL_DIR, LOCAL[1])
    model, images = build_golden_model(golden), golden.arrays['images']
    layout, tokens = token_layout(model.backbone), model.extract_feat(images, stage='backbone')[-1]
    regions = torch.compile(lambda tokens: model.neck(tokens, images, layout), fullgraph=True)(tokens)
    assert torch.equal(regions.boxes, golden.arrays['boxes_xyxy'])
    assert_near(regions.crops, golden.arrays['crops'].float(), 2e-3)  # stored as float16


def test_official_names_that_are_wrong_are_refused():
    with pytest.raises(GLSimError, match='foo'):
        read_official({'foo': torch.zeros(1)})
    with pytest.raises(GLSimError, match='lack encoder.blocks.0.attn.proj_k.weight'):
        read_official({'encoder.blocks.0.attn.proj_q.weight': torch.zeros(1, 1)})
