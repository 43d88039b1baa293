"""timm's weights under the names and shapes of other projects, written down from those projects' state dicts.

Independent of the readers under test. Each takes the ``state_dict`` of a timm model.
"""

import re

import numpy as np
import torch


def _block(name):
    match = re.fullmatch(r'blocks\.(\d+)\.(.+)', name)
    return (match[1], match[2]) if match else (None, name)


def google_npz(state, head=None):
    """Google's JAX arrays, as the ImageNet-21k and augreg files have them."""
    arrays = {
        'cls': state['cls_token'].numpy(),
        'Transformer/posembed_input/pos_embedding': state['pos_embed'].numpy(),
        'embedding/kernel': state['patch_embed.proj.weight'].permute(2, 3, 1, 0).numpy(),
        'embedding/bias': state['patch_embed.proj.bias'].numpy(),
        'Transformer/encoder_norm/scale': state['norm.weight'].numpy(),
        'Transformer/encoder_norm/bias': state['norm.bias'].numpy(),
        'pre_logits/kernel': np.zeros((4, 4), np.float32),
    }
    if head is not None:
        arrays['head/kernel'], arrays['head/bias'] = head[0].T.numpy(), head[1].numpy()
    depth = len({_block(name)[0] for name in state} - {None})
    for i in range(depth):
        block, new = f'blocks.{i}', f'Transformer/encoderblock_{i}'
        for old, norm in (('norm1', 'LayerNorm_0'), ('norm2', 'LayerNorm_2')):
            arrays[f'{new}/{norm}/scale'] = state[f'{block}.{old}.weight'].numpy()
            arrays[f'{new}/{norm}/bias'] = state[f'{block}.{old}.bias'].numpy()
        attention = f'{new}/MultiHeadDotProductAttention_1'
        width = state['cls_token'].shape[-1]
        heads = 2
        weights, biases = state[f'{block}.attn.qkv.weight'].chunk(3), state[f'{block}.attn.qkv.bias'].chunk(3)
        for part, weight, bias in zip(('query', 'key', 'value'), weights, biases):
            arrays[f'{attention}/{part}/kernel'] = weight.T.reshape(width, heads, -1).numpy()
            arrays[f'{attention}/{part}/bias'] = bias.reshape(heads, -1).numpy()
        arrays[f'{attention}/out/kernel'] = state[f'{block}.attn.proj.weight'].T.reshape(heads, -1, width).numpy()
        arrays[f'{attention}/out/bias'] = state[f'{block}.attn.proj.bias'].numpy()
        for j in (0, 1):
            arrays[f'{new}/MlpBlock_3/Dense_{j}/kernel'] = state[f'{block}.mlp.fc{j + 1}.weight'].T.numpy()
            arrays[f'{new}/MlpBlock_3/Dense_{j}/bias'] = state[f'{block}.mlp.fc{j + 1}.bias'].numpy()
    return arrays


def big_vision_npz(state):
    """The same with big_vision's names: under ``params/``, the blocks stacked, other numbers."""
    arrays = google_npz(state)
    stacked = {}
    for name, array in arrays.items():
        name = name.replace('posembed_input/', '').replace('Transformer/pos_embedding', 'pos_embedding')
        name = name.replace('LayerNorm_2', 'LayerNorm_1').replace('MlpBlock_3', 'MlpBlock_0')
        name = name.replace('Attention_1', 'Attention_0')
        stacked.setdefault(re.sub(r'encoderblock_\d+', 'encoderblock', f'params/{name}'), []).append(array)
    return {
        name: np.stack(parts) if 'encoderblock/' in name else parts[0]
        for name, parts in stacked.items()
        if 'pre_logits' not in name
    }


def dinov2(state):
    """The DINOv2 authors' names; with registers the CLS token's position is stored apart from the token."""
    result = {'mask_token': torch.zeros(1, state['cls_token'].shape[-1])}
    for name, tensor in state.items():
        if 'reg_token' in state and name == 'cls_token':
            result['cls_token'] = tensor - 0.25
        elif 'reg_token' in state and name == 'pos_embed':
            result['pos_embed'] = torch.cat([torch.full_like(tensor[:, :1], 0.25), tensor], dim=1)
        elif name == 'reg_token':
            result['register_tokens'] = tensor
        else:
            result[name] = tensor
    if any(
        'mlp.fc1.weight' in n and t.shape[0] == 2 * state[n.replace('fc1', 'fc2')].shape[1] for n, t in state.items()
    ):
        result = {n.replace('mlp.fc1', 'mlp.w12').replace('mlp.fc2', 'mlp.w3'): t for n, t in result.items()}
    return result


def dinov3(state):
    """The DINOv3 authors' names: a bias for queries, keys and values with a mask over the keys'."""
    result = {'mask_token': torch.zeros(1, state['cls_token'].shape[-1]), 'rope_embed.periods': torch.ones(4)}
    for name, tensor in state.items():
        name = (
            name.replace('reg_token', 'storage_tokens').replace('gamma_1', 'ls1.gamma').replace('gamma_2', 'ls2.gamma')
        )
        name = name.replace('mlp.fc1_g', 'mlp.w1').replace('mlp.fc1_x', 'mlp.w2')
        if 'blocks.0.mlp.fc1_g.weight' in state:
            name = name.replace('mlp.fc2', 'mlp.w3')
        if name.endswith('attn.q_bias'):
            value = state[name.replace('q_bias', 'v_bias')]
            result[name.replace('q_bias', 'qkv.bias')] = torch.cat([tensor, torch.full_like(tensor, 9.0), value])
            result[name.replace('q_bias', 'qkv.bias_mask')] = torch.ones(3 * len(tensor))
        elif not name.endswith('attn.v_bias'):
            result[name] = tensor
    return result


def hf_vit(state, head=None):
    """transformers' ViTForImageClassification."""
    result = {'vit.pooler.dense.weight': torch.zeros(2, 2)}
    if head is not None:
        result.update({'classifier.weight': head[0], 'classifier.bias': head[1]})
    names = {
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'attn.proj': 'attention.output.dense',
        'mlp.fc1': 'intermediate.dense',
        'mlp.fc2': 'output.dense',
    }
    _hf_common(state, result, 'vit.', names)
    return result


def hf_dinov2(state, prefix='dinov2.'):
    """transformers' Dinov2Model or Dinov2WithRegistersModel; made from the authors' layout of the same weights."""
    result = {f'{prefix}embeddings.mask_token': torch.zeros(1, 4)}
    gated = 'blocks.0.mlp.w12.weight' in dinov2(state)
    names = {
        'norm1': 'norm1',
        'norm2': 'norm2',
        'attn.proj': 'attention.output.dense',
        'mlp.fc1': 'mlp.weights_in' if gated else 'mlp.fc1',
        'mlp.fc2': 'mlp.weights_out' if gated else 'mlp.fc2',
    }
    authors = dinov2(state)
    merged = {**state, 'cls_token': authors['cls_token'], 'pos_embed': authors['pos_embed']}
    _hf_common(merged, result, prefix, names)
    return result


def _hf_common(state, result, prefix, names):
    for name, tensor in state.items():
        i, rest = _block(name)
        stem, _, part = rest.rpartition('.')
        layer = f'{prefix}encoder.layer.{i}.'
        if stem == 'attn.qkv':
            for which, chunk in zip(('query', 'key', 'value'), tensor.chunk(3)):
                result[f'{layer}attention.attention.{which}.{part}'] = chunk
        elif rest in ('ls1.gamma', 'ls2.gamma'):
            result[f'{layer}layer_scale{rest[2]}.lambda1'] = tensor
        elif i is not None:
            result[f'{layer}{names[stem]}.{part}'] = tensor
        elif stem == 'patch_embed.proj':
            result[f'{prefix}embeddings.patch_embeddings.projection.{part}'] = tensor
        elif stem == 'norm':
            result[f'{prefix}layernorm.{part}'] = tensor
        else:
            new = {'cls_token': 'cls_token', 'pos_embed': 'position_embeddings', 'reg_token': 'register_tokens'}[name]
            result[f'{prefix}embeddings.{new}'] = tensor


def hf_dinov3(state):
    """transformers' DINOv3ViTModel, whose keys have no bias."""
    result = {'embeddings.mask_token': torch.zeros(1, 1, 4)}
    mlp = {
        'mlp.fc1_g': 'mlp.gate_proj',
        'mlp.fc1_x': 'mlp.up_proj',
        'mlp.fc1': 'mlp.up_proj',
        'mlp.fc2': 'mlp.down_proj',
    }
    for name, tensor in state.items():
        i, rest = _block(name)
        stem, _, part = rest.rpartition('.')
        layer = f'layer.{i}.'
        if rest == 'attn.qkv.weight':
            for which, chunk in zip('qkv', tensor.chunk(3)):
                result[f'{layer}attention.{which}_proj.weight'] = chunk
        elif rest in ('attn.q_bias', 'attn.v_bias'):
            result[f'{layer}attention.{rest[5]}_proj.bias'] = tensor
        elif rest in ('gamma_1', 'gamma_2'):
            result[f'{layer}layer_scale{rest[-1]}.lambda1'] = tensor
        elif stem == 'attn.proj':
            result[f'{layer}attention.o_proj.{part}'] = tensor
        elif i is not None:
            result[f'{layer}{mlp.get(stem, stem)}.{part}'] = tensor
        elif stem == 'patch_embed.proj':
            result[f'embeddings.patch_embeddings.{part}'] = tensor
        else:
            new = {'cls_token': 'embeddings.cls_token', 'reg_token': 'embeddings.register_tokens'}
            result[new.get(name, name)] = tensor
    return result


def clip(state, prefix='visual.'):
    """OpenAI's and open_clip's CLIP, with a text tower beside the image tower."""
    result = {
        'positional_embedding': torch.zeros(5, 4),
        'logit_scale': torch.ones(()),
        f'{prefix}proj': torch.ones(2, 2),
    }
    names = {
        'norm_pre': 'ln_pre',
        'norm': 'ln_post',
        'norm1': 'ln_1',
        'norm2': 'ln_2',
        'attn.proj': 'attn.out_proj',
        'mlp.fc1': 'mlp.c_fc',
        'mlp.fc2': 'mlp.c_proj',
        'patch_embed.proj': 'conv1',
    }
    for name, tensor in state.items():
        i, rest = _block(name)
        stem, _, part = rest.rpartition('.')
        start = prefix if i is None else f'{prefix}transformer.resblocks.{i}.'
        if stem == 'attn.qkv':
            result[f'{start}attn.in_proj_{part}'] = tensor
        elif name == 'cls_token':
            result[f'{prefix}class_embedding'] = tensor[0, 0]
        elif name == 'pos_embed':
            result[f'{prefix}positional_embedding'] = tensor[0]
        else:
            result[f'{start}{names[stem]}.{part}'] = tensor
    return result


def hf_clip(state):
    """The image tower of transformers' CLIPModel."""
    result = {
        'text_model.embeddings.position_ids': torch.zeros(1, 3, dtype=torch.long),
        'visual_projection.weight': torch.ones(2, 2),
    }
    prefix = 'vision_model.'
    result[f'{prefix}embeddings.position_ids'] = torch.zeros(1, 3, dtype=torch.long)
    names = {'norm1': 'layer_norm1', 'norm2': 'layer_norm2', 'attn.proj': 'self_attn.out_proj'}
    for name, tensor in state.items():
        i, rest = _block(name)
        stem, _, part = rest.rpartition('.')
        layer = f'{prefix}encoder.layers.{i}.'
        if stem == 'attn.qkv':
            for which, chunk in zip('qkv', tensor.chunk(3)):
                result[f'{layer}self_attn.{which}_proj.{part}'] = chunk
        elif i is not None:
            result[f'{layer}{names.get(stem, stem)}.{part}'] = tensor
        elif name == 'cls_token':
            result[f'{prefix}embeddings.class_embedding'] = tensor[0, 0]
        elif name == 'pos_embed':
            result[f'{prefix}embeddings.position_embedding.weight'] = tensor[0]
        elif stem == 'patch_embed.proj':
            result[f'{prefix}embeddings.patch_embedding.{part}'] = tensor
        else:
            result[f'{prefix}{"pre_layrnorm" if stem == "norm_pre" else "post_layernorm"}.{part}'] = tensor
    return result


def open_clip_timm(state):
    """open_clip with a tower of timm."""
    return {f'visual.trunk.{name}': tensor for name, tensor in state.items()}
