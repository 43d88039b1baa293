"""What the wheel, the source distribution and the editable install contain."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from packaging.requirements import Requirement

from glsim_mm.version import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ['glsim_mm', 'retrieval', 'configs', 'tools', 'tests', 'requirements']
PURELIB = 'import sysconfig; print(sysconfig.get_path("purelib"))'
CHECKOUT_ONLY = {'quickstart.sh', 'run_tests.sh', 'environment.sh', 'fresh_machine.sh'}


def run(*command, cwd) -> str:
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(what: str, source: Path, target: Path) -> Path:
    """A wheel, or an archive of the sources, made as pip and build do: through setuptools' own interface."""
    code = f'import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])'
    run(sys.executable, '-c', code, str(target), cwd=source)
    (path,) = target.glob('*.tar.gz' if what == 'sdist' else '*.whl')
    return path


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with what an earlier build and other programs may leave behind."""
    target = tmp_path_factory.mktemp('project') / 'a checkout'
    target.mkdir()
    for path in ROOT.iterdir():
        if path.is_file() and path.name != '.git':
            shutil.copy(path, target)
    for name in SOURCES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
    for stale in ('build/lib/glsim_mm/removed.py', 'configs/.ruff_cache/x', 'data/photo.py', 'work_dirs/a/config.py'):
        (target / stale).parent.mkdir(parents=True)
        (target / stale).write_text('')
    return target


@pytest.fixture(scope='module')
def wheel(checkout, tmp_path_factory) -> Path:
    return build('wheel', checkout, tmp_path_factory.mktemp('wheel'))


def expected_files() -> set[str]:
    packages = {path.relative_to(ROOT) for name in ('glsim_mm', 'retrieval') for path in (ROOT / name).rglob('*.py')}
    packages |= {Path('glsim_mm/py.typed'), Path('retrieval/py.typed')}
    packages |= {path.relative_to(ROOT) for path in (ROOT / 'glsim_mm/visualization/templates').glob('*.html')}
    packages |= {path.relative_to(ROOT) for path in (ROOT / 'glsim_mm/search/server/page').iterdir()}
    kinds = ('.py', '.sh', '.yml')
    shipped = [path for name in ('configs', 'tools') for path in (ROOT / name).rglob('*') if path.suffix in kinds]
    shipped.append(ROOT / 'model-index.yml')
    mim = {Path('glsim_mm/.mim') / path.relative_to(ROOT) for path in shipped if path.name not in CHECKOUT_ONLY}
    return {path.as_posix() for path in packages | mim if '__pycache__' not in path.parts}


def test_wheel_contains_packages_configs_and_tools_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if '.dist-info/' not in name} == expected_files()
    assert 'glsim_mm/.mim/configs/glsim_vit_cub.py' in names
    assert 'glsim_mm/visualization/templates/report.html' in names
    assert [name for name in names if name.endswith('LICENSE')] == [
        f'glsim_mm-{__version__}.dist-info/licenses/LICENSE'
    ]


def test_metadata_states_the_requirements(wheel):
    text = zipfile.ZipFile(wheel).read(f'glsim_mm-{__version__}.dist-info/METADATA').decode()
    metadata = message_from_string(text)
    assert metadata['Version'] == __version__
    assert metadata['Requires-Python'] == '>=3.10'
    assert set(metadata.get_all('Provides-Extra')) == {
        'dev', 'downstream', 'export', 'heif', 'metric-learning', 'milvus', 'mmcv-lite', 'parquet', 'places',
        'pretrained', 'ray', 'serve', 'test', 'text', 'watch',
    }  # fmt: skip
    requirements = [Requirement(line) for line in metadata.get_all('Requires-Dist')]
    linux = dict(platform_system='Linux', platform_machine='x86_64', extra='')
    mac = dict(platform_system='Darwin', platform_machine='arm64', extra='')
    on_linux, on_mac = (
        {item.name for item in requirements if item.marker is None or item.marker.evaluate(platform)}
        for platform in (linux, mac)
    )
    common = {'torch', 'torchvision', 'timm', 'numpy', 'pillow', 'jinja2', 'matplotlib', 'rich', 'setuptools'}
    common |= {'filelock', 'mmengine', 'mmpretrain'}
    assert on_linux == common | {'faiss-gpu'}
    assert on_mac == common | {'faiss-cpu'}
    (mmcv_lite,) = [item for item in requirements if item.name == 'mmcv-lite']
    assert mmcv_lite.marker.evaluate(dict(extra='mmcv-lite'))
    assert not mmcv_lite.specifier.contains('2.2.0')


def test_unpacked_wheel_imports_and_its_configs_load(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / 'site')
    code = (
        'import glsim_mm, retrieval, pathlib; from mmengine import Config\n'
        'package = pathlib.Path(glsim_mm.__file__).parent\n'
        'for path in sorted((package / ".mim" / "configs").glob("*.py"))[::9]: Config.fromfile(path).model\n'
        'from glsim_mm.apis.model_hub import register_models\n'
        'from mmpretrain.apis.model import ModelHub\n'
        'assert "glsim_vit_cub" in register_models()\n'
        'config = pathlib.Path(ModelHub._models_dict["glsim_vit_cub"].config)\n'
        'assert config == package / ".mim" / "configs" / "glsim_vit_cub.py", config\n'
        'print(package.parent); print(glsim_mm.__version__)'
    )
    bootstrap = f'import sys; sys.path.insert(0, {str(tmp_path / "site")!r})\n'
    output = run(sys.executable, '-c', bootstrap + code, cwd=tmp_path)
    assert output.split('\n')[-3:] == [str(tmp_path / 'site'), __version__, '']


@pytest.fixture(scope='module')
def glsim(wheel, tmp_path_factory) -> Path:
    """The console command of the wheel in a virtual environment that has its requirements, but not the checkout."""
    folder = tmp_path_factory.mktemp('installed')
    venv.create(folder, symlinks=True)
    python = folder / 'bin' / 'python'
    site = Path(run(python, '-c', PURELIB, cwd=folder).strip())
    (site / 'requirements.pth').write_text('\n'.join(path for path in sys.path if path.endswith('-packages')))
    options = ['--quiet', '--no-deps', '--no-index', '--disable-pip-version-check', '--ignore-installed']
    run(python, '-m', 'pip', 'install', *options, str(wheel), cwd=folder)
    assert str(folder) in run(python, '-c', 'import glsim_mm; print(glsim_mm.__file__)', cwd=folder)
    return folder / 'bin' / 'glsim'


def test_the_console_command_of_a_wheel_has_all_commands(glsim, tmp_path):
    assert '  build               Encode images into a gallery\n' in run(glsim, '--help', cwd=tmp_path)
    assert run(glsim, '--version', cwd=tmp_path) == f'glsim_mm {__version__}\n'
    assert run(glsim, 'build', '--help', cwd=tmp_path).startswith('usage: glsim build ')


def test_a_wheel_has_all_that_training_by_name_needs(glsim, tmp_path):
    run(glsim, 'make-demo', '--classes', '8', '--train', '2', '--test', '1', cwd=tmp_path)
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.num_workers=0']
    run(glsim, 'train', 'glsim_vit_demo', '--cfg-options', *options, 'val_dataloader.num_workers=0', cwd=tmp_path)
    (config,) = (tmp_path / 'work_dirs' / 'glsim_vit_demo').glob('glsim_vit_demo.py')
    assert Config.fromfile(config).model.type == 'GLSimClassifier'
    assert list(config.parent.glob('*.pth'))


def test_source_distribution_builds_the_same_wheel(checkout, wheel, tmp_path):
    shutil.unpack_archive(build('sdist', checkout, tmp_path), tmp_path / 'unpacked')
    (source,) = (tmp_path / 'unpacked').iterdir()
    assert not (source / 'tests').exists()
    (tmp_path / 'wheel').mkdir()
    rebuilt = build('wheel', source, tmp_path / 'wheel')
    assert set(zipfile.ZipFile(rebuilt).namelist()) == set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope='module')
def editable(checkout, tmp_path_factory) -> Path:
    """The site-packages folder of ``pip install --editable`` of the checkout."""
    folder = tmp_path_factory.mktemp('editable')
    zipfile.ZipFile(build('editable', checkout, folder)).extractall(folder / 'site')
    return folder / 'site'


def test_pip_uninstalls_all_of_an_editable_install(editable, tmp_path):
    venv.create(tmp_path, symlinks=True)
    site = Path(run(tmp_path / 'bin' / 'python', '-c', PURELIB, cwd=tmp_path).strip())
    (site / 'requirements.pth').write_text('\n'.join(path for path in sys.path if path.endswith('-packages')))
    before = set(tmp_path.rglob('*'))
    pip = [tmp_path / 'bin' / 'python', '-m', 'pip', '--quiet', '--disable-pip-version-check']
    options = ['--no-deps', '--no-index', '--no-compile', '--ignore-installed']
    run(*pip, 'install', *options, *map(str, editable.parent.glob('*.whl')), cwd=tmp_path)
    assert (site / 'glsim_mm' / '.mim' / 'model-index.yml').exists()
    run(*pip, 'uninstall', '--yes', 'glsim-mm', cwd=tmp_path)
    assert set(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('in_the_way', [None, 'retrieval/search.py', 'glsim_mm/x.py'])
def test_editable_install_imports_from_the_checkout(checkout, editable, tmp_path, in_the_way):
    """Also where a folder of one of our names, without ``__init__.py``, is in the working folder."""
    if in_the_way:
        (tmp_path / in_the_way).parent.mkdir()
        (tmp_path / in_the_way).touch()
    # Without site-packages (-S), where the project may be installed from another checkout already.
    code = 'import site, sys; site.addsitedir(sys.argv[1]); import retrieval, glsim_mm; '
    code += 'print(retrieval.__file__); print(glsim_mm.__file__)'
    output = run(sys.executable, '-S', '-c', code, str(editable), cwd=tmp_path)
    assert output.splitlines() == [str(checkout / name / '__init__.py') for name in ('retrieval', 'glsim_mm')]
    assert not list((checkout / 'glsim_mm').glob('.mim'))


def test_mim_finds_an_editable_install(checkout, editable):
    """mim looks into ``.mim`` in the folder of the package that is beside its metadata."""
    mim = editable / 'glsim_mm' / '.mim'
    names = {path.relative_to(mim).as_posix() for path in mim.rglob('*.*')}
    originals = [path for name in ('configs', 'tools') for path in (checkout / name).rglob('*.py')]
    assert names == {path.relative_to(checkout).as_posix() for path in originals} | {'model-index.yml'}
    (path,) = yaml.safe_load((mim / 'model-index.yml').read_text())['Import']
    assert Path(path) == checkout / 'configs' / 'metafile.yml'
    original = Config.fromfile(checkout / 'configs' / 'glsim_vit_cub.py')
    assert Config.fromfile(mim / 'configs' / 'glsim_vit_cub.py').to_dict() == original.to_dict()
    output = run(sys.executable, str(mim / 'tools' / 'retrieval' / 'info.py'), '--help', cwd=editable)
    assert 'Say what a gallery holds' in output


@pytest.mark.parametrize('name', ['retrieval/__init__.py', 'retrieval.py'])
def test_what_is_in_the_way_is_told(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    code = f'import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import glsim_mm'
    # Without site-packages (-S), where a finder of an older editable install may be.
    result = subprocess.run([sys.executable, '-S', '-c', code], cwd=ROOT.parent, capture_output=True, text=True)
    place = str(tmp_path / name).removesuffix('__init__.py')
    assert f'ImportError: {place} is in the way: Python imports it in place of' in result.stderr.splitlines()[-1]
    # The tools put the checkout first.
    result = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'retrieval' / 'info.py'), 'nowhere'],
        cwd=tmp_path, env={'PYTHONPATH': str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2 and result.stderr.startswith('error: ') and 'nowhere' in result.stderr
