"""Which weights a model has, as one number that galleries and files keep."""

import hashlib

import torch
from torch import nn


def hash_weights(module: nn.Module) -> str:
    """SHA-256 of names, types, shapes and bytes of all parameters and buffers, hexadecimal, whatever the device."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
