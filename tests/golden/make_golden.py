"""Write the golden files of this folder: ``PYTHONPATH=tests python tests/golden/make_golden.py``.

Random weights and smooth random images through tests/reference_glsim.py, one file per similarity, each with another
patch size, O, aggregator depth and box end. Committed so that a fresh clone can check parity on its own.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from reference_glsim import glsim

FOLDER = Path(__file__).parent
COMMON = dict(embed_dims=32, num_heads=2, feedforward_channels=128, num_classes=7, layer_norm_eps=1e-12)
FILES = {
    'cos_48px_p8_top6': dict(
        image_size=48, patch_size=8, num_layers=2, top_o=6, similarity='cos', aggregator_layers=1, aggregator_heads=1
    ),
    'l1_42px_p14_top2': dict(
        image_size=42, patch_size=14, num_layers=1, top_o=2, similarity='l1', aggregator_layers=1, aggregator_heads=2
    ),
    'l2_64px_p16_top3_inclusive': dict(
        image_size=64,
        patch_size=16,
        num_layers=2,
        top_o=3,
        similarity='l2',
        aggregator_layers=2,
        aggregator_heads=1,
        box_end='inclusive',
    ),
}


def random_state_dict(settings: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights under the authors' names, rounded to float16 so that the file stays small."""
    width, hidden = settings['embed_dims'], settings['feedforward_channels']
    patch = settings['patch_size']
    tokens = 1 + (settings['image_size'] // patch) ** 2
    shapes = {
        'class_token': (1, 1, width),
        'patch_embedding.weight': (width, 3, patch, patch),
        'patch_embedding.bias': (width,),
        'positional_embedding.pos_embedding': (1, tokens, width),
        'head.weight': (settings['num_classes'], width),
        'head.bias': (settings['num_classes'],),
    }
    blocks = [f'encoder.blocks.{i}' for i in range(settings['num_layers'])]
    blocks += [f'aggregator.blocks.{i}' for i in range(settings['aggregator_layers'])]
    for block in blocks:
        layers = {f'attn.proj_{p}': (width, width) for p in 'qkv'} | {'proj': (width, width)}
        layers |= {'pwff.fc1': (hidden, width), 'pwff.fc2': (width, hidden)}
        for name, shape in layers.items():
            shapes[f'{block}.{name}.weight'] = shape
            shapes[f'{block}.{name}.bias'] = shape[:1]
    norms = [f'{block}.norm{i}' for block in blocks for i in (1, 2)] + ['encoder_norm', 'aggregator_norm']
    for norm in norms:
        shapes[f'{norm}.weight'] = shapes[f'{norm}.bias'] = (width,)
    state = {}
    for name, shape in shapes.items():
        scale = 0.02 if 'patch_embedding' in name else 0.15
        value = torch.randn(shape, generator=generator) * scale + ('norm' in name and name.endswith('weight'))
        state[name] = value.half()
    return state


def main() -> None:
    """Write one .npz and one .json per entry of FILES."""
    for seed, (name, own) in enumerate(FILES.items()):
        settings = dict(COMMON, **own)
        generator = torch.Generator().manual_seed(seed)
        state = random_state_dict(settings, generator)
        coarse = torch.rand(4, 3, 9, 9, generator=generator)
        size = settings['image_size']
        pixels = (F.interpolate(coarse, (size, size), mode='bicubic').clamp(0, 1) * 255).round().to(torch.uint8)
        labels = torch.randint(settings['num_classes'], (4,), generator=generator)
        weights = {key: value.float().requires_grad_() for key, value in state.items()}
        results = glsim(weights, pixels.float() / 127.5 - 1, labels, settings)
        results['loss_label_smoothing_0_1'].backward()
        settings['grad_norms'] = {key: value.grad.norm().item() for key, value in weights.items()}
        results['crops'] = results['crops'].half()
        arrays = {f'state_dict/{key}': value.numpy() for key, value in state.items()}
        arrays |= {key: value.detach().numpy() for key, value in results.items()}
        np.savez_compressed(FOLDER / f'{name}.npz', images=pixels.numpy(), labels=labels.numpy(), **arrays)
        (FOLDER / f'{name}.json').write_text(json.dumps(settings, indent=1) + '\n')


if __name__ == '__main__':
    main()
