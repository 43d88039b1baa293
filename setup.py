"""Build script; tool settings are in pyproject.toml."""

import json
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Version of the package, without importing it."""
    namespace: dict = {}
    exec((ROOT / 'glsim_mm' / 'version.py').read_text(encoding='utf-8'), namespace)
    return namespace['__version__']


def read_requirements(*names: str) -> list[str]:
    """Requirements of files in requirements/, comments left out."""
    lines = [line for name in names for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def find_mim_files() -> list[Path]:
    """Model index, configs and command lines; scripts that only serve a checkout are left out."""
    patterns = ('model-index.yml', 'configs/**/*.yml', 'configs/**/*.py', 'tools/**/*.py', 'tools/**/*.sh')
    files = [path for pattern in patterns for path in ROOT.glob(pattern)]
    checkout_only = ('environment.sh', 'fresh_machine.sh', 'quickstart.sh', 'run_tests.sh')
    return [path for path in files if path.name not in checkout_only]


def stand_in(source: Path) -> str:
    """A file in place of one in the checkout, for :class:`BuildWithConfigs`."""
    if source.suffix == '.yml':  # the model index
        return f'Import:\n  - {json.dumps(str(ROOT / "configs" / "metafile.yml"))}\n'
    if 'configs' in source.relative_to(ROOT).parts:
        return f'_base_ = {str(source)!r}\n'
    return (
        'import runpy\nimport sys\n\n'
        f'sys.argv[0] = script = {str(source)!r}\nsys.path[0] = {str(source.parent)!r}\n'
        "runpy.run_path(script, run_name='__main__')\n"
    )


class BuildWithConfigs(build_py):
    """Ships configs and command lines as ``glsim_mm/.mim``, where OpenMMLab's packages keep theirs and mim looks.

    mim expects that folder beside the metadata in site-packages. An editable install has the package elsewhere, so it
    gets small files there which lead to those of the checkout. Without ``__init__.py`` they are in nobody's way. They
    are part of the editable wheel, so that pip uninstalls them; the folder of the package, too, as it holds a file.
    """

    def run(self) -> None:
        mim = Path('glsim_mm', '.mim')
        if self.editable_mode:
            super().run()
            site = Path(self.get_finalized_command('install').install_lib)
            sources = [path for path in find_mim_files() if path.suffix == '.py' or path.name == 'model-index.yml']
            for source in sources:
                target = site / mim / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(stand_in(source), encoding='utf-8')
            (site / 'glsim_mm' / 'README.txt').write_text(f'The package itself is in {ROOT}.\n', encoding='utf-8')
            return
        # What an earlier build left there would be shipped too.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        for source in find_mim_files():
            target = Path(self.build_lib, mim, source.relative_to(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


tested_extras = ('parquet', 'metric_learning', 'milvus', 'export', 'heif', 'watch', 'text', 'serve', 'places', 'ray')
test_requirements = read_requirements(*tested_extras, 'test')

setup(
    name='glsim-mm',
    version=read_version(),
    description='GLSim (global-local similarity) for OpenMMLab: fine-grained image recognition and search with ViTs',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8') if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['fine-grained recognition', 'vision transformer', 'image retrieval', 'OpenMMLab', 'FAISS'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['glsim_mm', 'glsim_mm.*', 'retrieval', 'retrieval.*']),
    # Naming the root makes editable installs put it on sys.path by a .pth file. Otherwise they register a finder, which
    # Python asks last: any folder called "retrieval" (a namespace package) in the working folder or tools/ would win.
    package_dir={'': '.'},
    package_data={
        'glsim_mm': ['py.typed', 'visualization/templates/*.html', 'search/server/page/*'],
        'retrieval': ['py.typed'],
    },
    python_requires='>=3.10',
    install_requires=read_requirements('runtime', 'openmmlab'),
    extras_require={
        'mmcv-lite': read_requirements('mmcv_lite'),
        'pretrained': read_requirements('pretrained'),
        'parquet': read_requirements('parquet'),
        'metric-learning': read_requirements('metric_learning'),
        'milvus': read_requirements('milvus'),
        'export': read_requirements('export'),
        'heif': read_requirements('heif'),
        'watch': read_requirements('watch'),
        'text': read_requirements('text'),
        'serve': read_requirements('serve'),
        'places': read_requirements('places'),
        'ray': read_requirements('ray'),
        'downstream': read_requirements('downstream'),
        'test': test_requirements,
        'dev': test_requirements + read_requirements('dev'),
    },
    entry_points={'console_scripts': ['glsim = glsim_mm.command:main']},
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
