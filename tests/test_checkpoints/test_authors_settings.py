"""Settings of the authors' checkpoints: each is read or refused by its name."""

import argparse
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from glsim_mm.apis.model import load_model
from glsim_mm.checkpoints.addresses import load_whole, read_address, weights_for
from glsim_mm.checkpoints.authors_config import official_config, official_model_config
from glsim_mm.checkpoints.authors_settings import DEAD, FROM_WEIGHTS, TIMM_SETTINGS, TRAINING, VIT_SETTINGS
from glsim_mm.checkpoints.conversion import convert_file
from glsim_mm.errors import GLSimError

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'guides' / 'checkpoints.md'


@pytest.fixture
def checkpoint(shared_root):
    return read_address(str(shared_root / 'golden' / 'official_format_tiny.pth'))


@pytest.fixture
def save(checkpoint, tmp_path):
    """Write the authors' checkpoint with changed settings and without some tensors."""

    def write(lacks='', **change):
        weights = {name: tensor for name, tensor in checkpoint.tensors.items() if not lacks or lacks not in name}
        settings = {**checkpoint.settings, **change}
        settings = {name: value for name, value in settings.items() if value != 'absent'}
        torch.save({'config': argparse.Namespace(**settings), 'model': weights}, tmp_path / 'w.pth')
        return str(tmp_path / 'w.pth')

    return write


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(classifier='pool'), "classifier='pool'"),
        (dict(classifier='seq_cls'), "classifier='seq_cls'"),
        (dict(reducer='linear'), "reducer='linear'"),
        (dict(reducer='absent'), 'do not say reducer'),
        (dict(dynamic_anchor='absent'), 'neither dynamic_anchor nor anchor_size'),
        (dict(dynamic_anchor=False, anchor_size=16, num_anchors=2), 'num_anchors=2'),
        (dict(anchor_random=True), 'anchor_random=True'),
        (dict(sim_metric='kld'), "sim_metric='kld'"),
        (dict(pos_embedding_type='sinusoidal'), "pos_embedding_type='sinusoidal'"),
        (dict(image_size=96), 'image_size=96.*16 patches of 16x16'),
        (dict(image_size=70), 'image_size=70.*no whole number of patches'),
        (dict(aggregator_norm=False), 'aggregator_norm=False, but the weights have'),
        (dict(encoder_norm=False), 'encoder_norm=False, but the weights have'),
        (dict(lacks='encoder_norm'), r'encoder_norm=True, but the weights lack encoder_norm\.weight'),
        (dict(lacks='aggregator_norm'), r'aggregator_norm=True, but the weights lack aggregator_norm\.weight'),
        (dict(lacks='aggregator.'), r'aggregator=True, but the weights lack aggregator\.blocks'),
        (dict(lacks='pos_embedding'), r'lacks positional_embedding\.pos_embedding'),
    ],
)
def test_what_cannot_be_built_is_refused_by_every_reader(save, tmp_path, change, message):
    path = save(**change)
    target = tmp_path / 'ours.pth'
    for read in (
        lambda: convert_file(path, target),
        lambda: CheckpointLoader.load_checkpoint(f'glsim://{path}'),
        lambda: weights_for(['backbone.pos_embed'], CheckpointLoader.load_checkpoint(path), path),
    ):
        with pytest.raises(GLSimError, match=message):
            read()
    assert not target.exists()


def test_an_anchor_size_crops_without_a_dynamic_anchor_too(save, checkpoint):
    with_size = load_whole(save(dynamic_anchor=False, anchor_size=16, num_anchors=1))
    assert with_size['meta']['model'] == load_whole(save())['meta']['model']


def test_settings_that_leave_no_trace_in_the_weights(save):
    """The same weights, and three other functions."""

    def parts(**change):
        model = load_whole(save(**change))['meta']['model']
        return model['neck'].get('out_type', 'crops'), model['head'].get('all_tokens', False)

    assert parts() == ('crops', False)
    assert parts(reducer=None) == parts(reducer=True) == ('crops', True)
    assert parts(dynamic_anchor=False) == ('none', False)
    assert parts(dynamic_anchor=False, reducer=None) == ('none', True)
    assert load_whole(save(classifier='max_cls'))['meta']['model']['head']['pooling'] == 'max'


def test_rates_of_training_are_read(save):
    model = load_whole(save(sd=0.1, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2))['meta']['model']
    assert model['backbone']['drop_path_uniform']
    for part in (model['backbone'], model['head']):
        assert (part['drop_path_rate'], part['layer_cfgs']) == (0.1, dict(attn_drop_rate=0.2))
        assert 'branch_drop_rate' not in part
    weak = load_whole(save(sd=0.0, hidden_dropout_prob=0.1))['meta']['model']
    assert weak['backbone']['branch_drop_rate'] == weak['head']['branch_drop_rate'] == 0.1


def test_settings_without_effect_change_nothing(save):
    expected = load_whole(save())['meta']['model']
    dead = dict.fromkeys(DEAD, 7)
    assert load_whole(save(**dead, **dict.fromkeys(TRAINING, 7)))['meta']['model'] == expected


def test_heads_by_the_name_of_the_model(checkpoint):
    """ViT-H has 16 heads of 80 channels."""
    tensors = {name.removeprefix('model.'): tensor for name, tensor in checkpoint.tensors.items()}
    settings = {**checkpoint.settings, 'num_attention_heads': None, 'model_name': 'vit_h14'}
    assert official_model_config(settings, tensors)['backbone']['arch']['num_heads'] == 16


def test_unknown_settings_and_none_at_all_are_told(save, checkpoint, tmp_path, mmengine_log):
    load_whole(save(aligner='cls', another=None))
    assert 'not read: aligner' in mmengine_log.text
    assert 'another' not in mmengine_log.text
    torch.save({'model': checkpoint.tensors}, tmp_path / 'bare.pth')
    load_whole(str(tmp_path / 'bare.pth'))
    assert "the paper's are assumed" in mmengine_log.text


def test_config_that_is_not_the_checkpoints_is_told(save, checkpoint, mmengine_log):
    """The weights fit, and compute something else."""
    path = save(dynamic_top=2, reducer=None)
    model = load_whole(path)['meta']['model']
    load_model(Config(official_config(checkpoint.settings, model)), path, 'cpu')
    assert 'the config differs' not in mmengine_log.text
    model['neck']['top_o'] = 5
    del model['head']['all_tokens']
    load_model(Config(official_config(checkpoint.settings, model)), path, 'cpu')
    assert 'model.neck.top_o=5 (trained with 2), model.head.all_tokens=False (trained with True)' in mmengine_log.text


def test_page_lists_every_setting():
    text = PAGE.read_text(encoding='utf-8').split('### Their settings')[1].split('## Command line')[0]
    named = set(re.findall(r'`(\w+)`', text))
    for name in (*VIT_SETTINGS, *TIMM_SETTINGS, *FROM_WEIGHTS, *DEAD, *TRAINING):
        assert name in named, name
