"""Options of a config on a machine without an accelerator."""

import platform

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device

from glsim_mm.compat import devices
from glsim_mm.compat.devices import fit_dataloaders, fit_mixed_precision, use_mixed_precision


def test_options_for_workers_go_without_workers():
    loader = dict(num_workers=0, persistent_workers=True, prefetch_factor=2)
    cfg = Config(dict(train_dataloader=loader, val_dataloader=None))
    fit_dataloaders(cfg)
    assert cfg.train_dataloader.persistent_workers is False
    assert 'prefetch_factor' not in cfg.train_dataloader
    assert cfg.val_dataloader is None


def test_options_for_workers_stay_with_workers():
    cfg = Config(dict(test_dataloader=dict(num_workers=2, persistent_workers=True, prefetch_factor=2)))
    fit_dataloaders(cfg)
    assert cfg.test_dataloader.persistent_workers is True
    assert cfg.test_dataloader.prefetch_factor == 2


def test_memory_is_pinned_only_for_an_accelerator():
    cfg = Config(dict(train_dataloader=dict(num_workers=1, pin_memory=True)))
    fit_dataloaders(cfg)
    assert cfg.train_dataloader.pin_memory is (get_device() != 'cpu')


@pytest.mark.parametrize('name', ['AmpOptimWrapper', 'mmengine.AmpOptimWrapper'])
def test_recipe_for_gpu_trains_in_float32_on_cpu(name):
    cfg = Config(dict(optim_wrapper=dict(type=name, loss_scale='dynamic', optimizer=dict(type='SGD', lr=0.1))))
    fit_mixed_precision(cfg)
    if get_device() == 'cpu':
        assert cfg.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    else:
        assert cfg.optim_wrapper.type == name


def test_mixed_precision_on_demand():
    cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=2.0, optimizer=dict(type='SGD', lr=0.1))))
    use_mixed_precision(cfg)
    fit_mixed_precision(cfg)
    if get_device() == 'cpu':
        assert cfg.optim_wrapper == dict(type='CPUAmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    else:
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
        assert cfg.optim_wrapper.loss_scale == 2.0


def test_full_precision_stays():
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))))
    fit_mixed_precision(cfg)
    assert 'type' not in cfg.optim_wrapper
    fit_mixed_precision(Config(dict(optim_wrapper=None)))


@pytest.mark.parametrize('is_fast', [True, False])
@pytest.mark.parametrize(
    'cfg, asks',
    [
        (dict(optim_wrapper=dict(type='mmpretrain.CPUAmpOptimWrapper')), True),
        (dict(model=dict(test_cfg=dict(amp='bf16'))), True),
        (dict(model=dict(test_cfg=None), optim_wrapper=dict(type='AmpOptimWrapper')), False),
        (dict(), False),
    ],
)
def test_who_asks_for_slow_bfloat16_is_told(monkeypatch, mmengine_log, cfg, asks, is_fast):
    monkeypatch.setattr(devices, 'get_device', lambda: 'cpu')  # also where there is a GPU
    monkeypatch.setattr(devices, 'has_fast_bfloat16', lambda: is_fast)
    fit_mixed_precision(Config(cfg))
    assert ('no instructions for bfloat16' in mmengine_log.text) == (asks and not is_fast)


def test_torch_knows_whether_bfloat16_is_fast():
    found = devices.has_fast_bfloat16()
    assert isinstance(found, bool)
    if platform.machine() == 'x86_64' and torch.backends.mkldnn.is_available():
        assert found or not torch.cpu._is_avx512_bf16_supported()
        assert not found or torch.cpu._is_avx512_supported()
