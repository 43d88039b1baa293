"""``compile`` in a config."""

from collections.abc import Callable

import pytest
import torch
from mmengine.config import Config

from glsim_mm.compat.compilation import pop_compile_options

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    'value, expected', [(None, None), (False, None), (True, {}), (dict(backend='eager'), dict(backend='eager'))]
)
def test_options(value, expected):
    cfg = Config(dict(compile=value, model=dict()))
    assert pop_compile_options(cfg) == expected
    assert 'compile' not in cfg


def test_compiled_runner_keeps_names_of_weights_and_results(tmp_path):
    from tiny_run import write_config, write_images

    from glsim_mm.apis import build_runner, load_config

    config = write_config(tmp_path / 'tiny_compiled.py', write_images(tmp_path / 'images'))
    options = dict(work_dir=str(tmp_path / 'work'))
    plain = build_runner(load_config(config, options))
    compiled = build_runner(load_config(config, {**options, 'compile': dict(backend='eager')}))
    compiled.model.load_state_dict(plain.model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    for runner in (plain, compiled):
        runner.model.eval()
    expected = plain.model.extract_feat(images, 'pre_logits')
    torch.testing.assert_close(compiled.model.extract_feat(images, 'pre_logits'), expected)
    assert compiled.model.backbone._compiled_call_impl is not None


@pytest.mark.parametrize('crop_cls_token', [False, True])
def test_compiled_backbone_serves_both_passes(tmp_path, crop_cls_token):
    from tiny_run import write_config, write_images

    from glsim_mm.apis import build_runner, load_config

    calls = []

    def counting(graph: torch.fx.GraphModule, example_inputs: list) -> Callable:
        def run(*inputs: torch.Tensor) -> tuple:
            calls.append(graph)
            return graph(*inputs)

        return run

    config = write_config(tmp_path / f'tiny_counted_{crop_cls_token}.py', write_images(tmp_path / 'images'))
    options = {'work_dir': str(tmp_path / 'work'), 'model.backbone.crop_cls_token': crop_cls_token}
    runner = build_runner(load_config(config, {**options, 'compile': dict(backend=counting, fullgraph=True)}))
    runner.model.eval().extract_feat(torch.rand(2, 3, 32, 32))
    assert len(calls) == 2


def test_drop_probabilities_become_python_floats():
    from mmpretrain.models.backbones import VisionTransformer

    from glsim_mm.compat.compilation import use_python_drop_probabilities

    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    vit = VisionTransformer(arch=arch, img_size=32, patch_size=8, drop_path_rate=0.2)
    use_python_drop_probabilities(vit)
    rates = [module.drop_prob for module in vit.modules() if hasattr(module, 'drop_prob')]
    assert all(type(rate) is float for rate in rates) and max(rates) == 0.2
