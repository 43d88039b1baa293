"""Importing the package is light, reaches mmpretrain's registries in every order, and says what is missing."""

import subprocess
import sys
from types import ModuleType

import mmcv
import pytest

from glsim_mm.compat import import_mmpretrain
from glsim_mm.compat.imports import leave_out_broken_multimodal

GLSIM_FIRST = """
import sys, threading, warnings
import glsim_mm, glsim_mm.compat, glsim_mm.exported, glsim_mm.images, glsim_mm.search, retrieval
assert not {'torch', 'mmengine', 'mmpretrain', 'mmcv'} & set(sys.modules), sorted(sys.modules)

sys.modules['mmcv'] = None
with warnings.catch_warnings(record=True) as caught:
    try:
        import mmpretrain.registry
    except ImportError as error:  # mmengine's registries would swallow it, but not the warning
        assert 'glsim_mm[mmcv-lite]' in str(error)
        assert [str(error)] == [str(item.message) for item in caught]
    else:
        raise AssertionError('imported without mmcv')
del sys.modules['mmcv']

found = []
def look_up():
    from mmpretrain.registry import MODELS
    found.append(MODELS.get('GLSimViT'))
threads = [threading.Thread(target=look_up) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
from glsim_mm.models import GLSimViT
assert found == [GLSimViT, GLSimViT], found
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith('glsim_mm')]
assert glsim_mm.datasets.NABirds
"""

MMPRETRAIN_FIRST = """
from mmengine.registry import MODELS as ROOT
from mmpretrain.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPERS
assert MODELS.get('VisionTransformer') and MODELS.get('GLSimViT') is None
import glsim_mm
assert ROOT.get('mmpretrain.GLSimViT') is MODELS.get('GLSimViT') is not None
assert HOOKS.get('SelectionPanelHook') and DATASETS.get('NABirds') and METRICS.get('RetrievalMetrics')
assert OPTIM_WRAPPERS.get('CPUAmpOptimWrapper')
"""

CONFIG_FIRST = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
cfg = Config.fromfile('configs/glsim_vit_cub.py')
assert 'glsim_mm.models' not in sys.modules
init_default_scope(cfg.default_scope)
assert MODELS.build(dict(type='GLSimSelector', top_o=2)).__module__.startswith('glsim_mm.')
from mmengine.runner import CheckpointLoader
assert 'timm://' in CheckpointLoader._schemes
"""


@pytest.mark.slow
@pytest.mark.parametrize('code', [GLSIM_FIRST, MMPRETRAIN_FIRST, CONFIG_FIRST], ids=['glsim', 'mmpretrain', 'config'])
def test_any_order_of_imports(code, root):
    command = [sys.executable, '-W', 'default::UserWarning', '-c', code]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    if code != MMPRETRAIN_FIRST:  # there mmcv warned before us
        assert result.stdout == ''
        assert 'MultiScaleDeformableAttention' not in result.stderr


@pytest.mark.parametrize(
    'missing, expected',
    [('mmcv', 'pip install "glsim_mm[mmcv-lite]"'), ('mmpretrain', 'pip install "mmpretrain>=1.2"')],
)
def test_missing_package(missing, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as error:
        import_mmpretrain()
    assert expected in str(error.value)
    assert '\n' not in str(error.value)


def test_versions_that_exclude_each_other(monkeypatch):
    monkeypatch.setattr(mmcv, '__version__', '99.0.0')
    monkeypatch.delitem(sys.modules, 'mmpretrain')
    with pytest.raises(ImportError, match=r'MMCV==99.0.0 .* pip install') as error:
        import_mmpretrain()
    assert '\n' not in str(error.value)


NAMES = ('apply_chunking_to_forward', 'find_pruneable_heads_and_indices', 'prune_linear_layer')


@pytest.mark.parametrize('names,expected', [(NAMES, True), (NAMES[:1], False), ((), False)])
def test_multimodal_models_are_left_out_where_transformers_has_no_parts_for_them(monkeypatch, names, expected):
    """mmpretrain takes any transformers beside pycocotools, and with transformers 5 cannot be imported then."""
    from mmpretrain.utils import dependency

    module = ModuleType('transformers.modeling_utils')
    for name in names:
        setattr(module, name, None)
    monkeypatch.setitem(sys.modules, 'transformers', ModuleType('transformers'))
    monkeypatch.setitem(sys.modules, 'transformers.modeling_utils', module)
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
    leave_out_broken_multimodal()
    assert dependency.WITH_MULTIMODAL is expected
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', False)
    leave_out_broken_multimodal()
    assert dependency.WITH_MULTIMODAL is False
