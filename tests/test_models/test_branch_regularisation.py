"""The recipe's dropout and stochastic depth are where the authors have them: compared on built models."""

import json
import re
from functools import cache

import pytest
import torch
from golden_files import LOCAL_DIR
from mmengine import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from glsim_mm.models import AggregatorHead, EmbeddingHead, GLSimViT

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
FILE = 'authors_regularisation.json'
WEAK = 'vit_b16, weak recipe (configs/augs/weakaugs.yaml)'
MEDIUM = 'vit_b16, medium recipe (configs/augs/medaugs.yaml)'
TWO_LAYERS = 'vit_b16, medium recipe, two aggregator layers'
DINOV2 = 'timm variant glsvit_small_patch14_dinov2.lvd142m, medium recipe'
SETS = ('cub', 'dafb', 'dogs', 'flowers', 'food101', 'inat17', 'moe', 'nabirds', 'pets', 'vegfru', 'aircraft', 'cars')
RECIPES = [
    *((f'glsim_vit_{name}{size}', MEDIUM) for name in SETS for size in ('', '_448')),
    *((f'vit_{name}{size}', MEDIUM) for name in SETS for size in ('', '_448')),
    *((f'augmentation/glsim_vit_{name}_strong', MEDIUM) for name in SETS),
    *((f'augmentation/glsim_vit_{name}_weak', WEAK) for name in SETS),
    ('glsim_vit_custom', MEDIUM),
    ('glsim_vit_table', MEDIUM),
    ('glsim_vit_multi_region_cub', MEDIUM),
    ('efficiency/glsim_vit_half_crop_cub', MEDIUM),
    ('baselines/selectors/glsim_vit_psm_cub', MEDIUM),
    ('baselines/transfg_vit_base_p16_cub', MEDIUM),
    ('baselines/ffvt_vit_base_p16_cub', MEDIUM),
    ('retrieval/glsim_vit_proxy_anchor_cub', MEDIUM),
    ('glsim_dinov2s_cub', DINOV2),
    ('dinov2s_cub', DINOV2),
    ('experiments/glsim_dinov2s_cub50_cpu', DINOV2),
    ('experiments/dinov2s_cub50_cpu', DINOV2),
]


@cache
def authors_modules(model: str) -> dict[str, str]:
    return json.loads((LOCAL_DIR / FILE).read_text())['models'][model]


def expected_modules(model: str, has_aggregator: bool) -> dict[str, str]:
    """The authors' modules that act, under the names of this project: a block's ``drop`` has two places here."""
    expected = {}
    for name, what in authors_modules(model).items():
        part, index, leaf = re.fullmatch(r'(?:(\w+)\.)??(?:blocks\.)?(\d+)\.(\w+)', name).groups()
        if part is None:
            expected[f'backbone.model.blocks.{index}.{leaf}'] = what
        elif part == 'encoder' or has_aggregator:
            block = f'{"backbone" if part == "encoder" else "head"}.layers.{index}'
            places = ('attn.out_drop', 'ffn.dropout_layer') if 'Path' in what else ('attn.proj_drop', 'ffn.layers.2')
            places = places if leaf == 'drop' else places[int(leaf == 'drop_path2') :][:1]
            expected.update({f'{block}.{place}': what for place in places})
    return expected


def acting_modules(model: nn.Module) -> dict[str, str]:
    """Every module of a model that drops anything in training, and how."""
    found = {}
    for name, module in model.named_modules():
        rate = getattr(module, 'drop_prob', getattr(module, 'p', 0.0)) if 'Drop' in type(module).__name__ else 0.0
        if rate:
            found[name] = f'{type(module).__name__} {rate}'
    return found


def build(model: dict) -> nn.Module:
    """A model as its config says, but for its width."""
    backbone = model['backbone']
    backbone.update(pretrained=False, embed_dim=64, num_heads=1) if backbone['type'] == 'TimmViT' else backbone.update(
        arch=dict(embed_dims=64, num_layers=12, num_heads=1, feedforward_channels=64), init_cfg=None, img_size=32
    )
    model['head'].update(in_channels=64)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(model)


def assert_same(found: dict[str, str], expected: dict[str, str]) -> None:
    assert found.keys() == expected.keys()
    for name, what in expected.items():
        (kind, rate), (expected_kind, expected_rate) = found[name].split(), what.split()
        assert kind == expected_kind, name
        assert float(rate) == pytest.approx(float(expected_rate), abs=1e-7), name


@pytest.mark.parametrize(('config', 'model'), RECIPES)
def test_recipes_drop_what_the_authors_drop(root, config, model):
    built = build(Config.fromfile(root / f'configs/{config}.py').model)
    assert_same(acting_modules(built), expected_modules(model, isinstance(built.head, AggregatorHead)))


def test_two_aggregator_layers_drop_equally(root):
    config = Config.fromfile(root / 'configs/glsim_vit_cub.py').model
    config.head.num_layers = 2
    assert_same(acting_modules(build(config)), expected_modules(TWO_LAYERS, True))


def test_golden_file_is_that_of_the_authors_models(shared_root):
    models = json.loads((shared_root / 'golden' / FILE).read_text())['models']
    assert models.keys() == json.loads((LOCAL_DIR / FILE).read_text())['models'].keys()
    for name, model in models.items():
        modules = {path: f'{one["type"]} {one["p"]}' for path, one in model['modules'].items() if one['p']}
        assert modules == authors_modules(name)


@pytest.mark.parametrize('count', [1, 2])
def test_stochastic_depth_leaves_out_whole_branches_independently(count):
    head = AggregatorHead(5, 32, num_layers=count, num_heads=2, drop_path_rate=0.5).train()
    torch.manual_seed(0)
    tokens = torch.randn(1, 2, 32).expand(400, -1, -1)
    kinds = {tuple(row) for row in head.aggregate(tokens).detach().mul(1e3).round().flatten(1).tolist()}
    assert len(kinds) == 4**count  # each branch kept or not
    plain = AggregatorHead(5, 32, num_layers=count, num_heads=2)
    plain.load_state_dict(head.state_dict())
    assert torch.equal(plain.eval().pre_logits((tokens,)), head.eval().pre_logits((tokens,)))


def test_dropout_of_branches_leaves_the_rest_alone():
    vit = GLSimViT(arch=ARCH, img_size=32, patch_size=8, branch_drop_rate=0.5).train()
    shares = {}
    for name, module in vit.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _, x, y, name=name: shares.update({name: (y != x[0]).float().mean()}))
    vit(torch.randn(2, 3, 32, 32))
    changed = {name for name, share in shares.items() if share > 0}
    assert changed == {f'layers.{i}.{place}' for i in range(3) for place in ('attn.proj_drop', 'ffn.layers.2')}
    assert changed < shares.keys()


def test_one_layer_has_the_rate_too():
    vit = GLSimViT(arch=dict(ARCH, num_layers=1), img_size=32, drop_path_rate=0.2, drop_path_uniform=True)
    assert set(acting_modules(vit).values()) == {'DropPath 0.2'}


def test_stochastic_depth_that_grows_can_still_be_had():
    vit = GLSimViT(arch=ARCH, img_size=32, drop_path_rate=0.2)
    assert [layer.attn.out_drop.drop_prob for layer in vit.layers] == [0.0, 0.1, 0.2]


def test_embedding_head_takes_the_rates():
    pytest.importorskip('pytorch_metric_learning')
    head = EmbeddingHead(5, 32, num_heads=2, drop_path_rate=0.1, branch_drop_rate=0.2)
    assert sorted(acting_modules(head).values()) == ['DropPath 0.1'] * 2 + ['Dropout 0.2'] * 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(drop_path_rate=1.0), 'drop_path_rate must be at least 0 and below 1, got 1.0'),
        (dict(branch_drop_rate=-0.1), 'branch_drop_rate must be at least 0 and below 1, got -0.1'),
        (dict(branch_drop_rate=0.1, drop_rate=0.1), 'two kinds of dropout'),
    ],
)
def test_rates_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GLSimViT(arch=ARCH, img_size=32, **options)
    with pytest.raises(ValueError, match=message):
        AggregatorHead(5, 32, num_heads=2, **options)


def test_swiglu_has_no_dropout_to_set():
    with pytest.raises(ValueError, match='SwiGLU'):
        GLSimViT(arch=ARCH, img_size=32, layer_cfgs=dict(ffn_type='swiglu_fused'), branch_drop_rate=0.1)
