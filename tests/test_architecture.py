"""What the import contracts in pyproject.toml cannot say: which imports may wait for a call, and what runs light."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ('glsim_mm', 'retrieval')
# What takes long to load, or may be missing: only these may be imported inside a function.
HEAVY = {
    'faiss', 'fsspec', 'google', 'grpc', 'h3', 'huggingface_hub', 'jinja2', 'markupsafe', 'matplotlib', 'milvus_lite',
    'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'onnx', 'onnxruntime', 'onnxscript', 'open_clip', 'openvino',
    'pillow_heif', 'pooch', 'pyarrow', 'pymilvus', 'pytorch_metric_learning', 'ray', 'resource', 'safetensors', 'scipy',
    'timm', 'torch', 'torchvision', 'transformers', 'turbojpeg', 'watchdog',
}  # fmt: skip


def find_modules() -> dict[str, Path]:
    """Modules of both packages by their names."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob('*.py')]
    names = ['.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__') for path in files]
    return dict(zip(names, files))


MODULES = find_modules()


class Imports(ast.NodeVisitor):
    """Names of modules that a file imports: when it is loaded, and later in a function."""

    def __init__(self, name: str, path: Path):
        self.package = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
        self.on_loading, self.later = set(), set()
        self._found = self.on_loading
        self.visit(ast.parse(path.read_text()))

    def visit_FunctionDef(self, node):
        outside, self._found = self._found, self.later
        self.generic_visit(node)
        self._found = outside

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        if 'TYPE_CHECKING' not in ast.unparse(node.test):
            self.generic_visit(node)

    def visit_Import(self, node):
        self._found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node):
        above = self.package[: len(self.package) + 1 - node.level] if node.level else []
        base = '.'.join([*above, *([node.module] if node.module else [])])
        names = {f'{base}.{alias.name}' for alias in node.names}
        self._found |= {name if name in MODULES else base for name in names}


@cache
def imports_of(name: str) -> Imports:
    return Imports(name, MODULES[name])


@cache
def loads(name: str) -> frozenset[str]:
    """The heavy packages that a module loads, itself or through others; the registration in glsim_mm/ is left out."""
    found, seen, todo = set(), set(), [name]
    while todo:
        module = todo.pop()
        if module in MODULES and module not in seen and module != 'glsim_mm':
            seen.add(module)
            todo += [*imports_of(module).on_loading, module.rpartition('.')[0]]
        found.add(module.partition('.')[0])
    return frozenset(found & HEAVY)


def find_needless_waits(name: str, imports: Imports, loaded: frozenset[str]) -> list[str]:
    """Imports inside a function that could stand at the top of the file: they load nothing heavy that is not there."""
    return [f'{name} -> {late}' for late in sorted(imports.later) if not loads(late) - loaded]


def test_imports_wait_for_a_call_only_where_they_load_something_heavy():
    found = [line for name in MODULES for line in find_needless_waits(name, imports_of(name), loads(name))]
    assert found == []


@pytest.mark.parametrize(
    'source, expected',
    [
        ('def call():\n    import torch\n', []),
        ('import torch\ndef call():\n    import torch\n', ['x -> torch']),
        ('async def call():\n    import json\n', ['x -> json']),
        ('def call():\n    from retrieval.errors import UserError\n', ['x -> retrieval.errors']),
        ('def call():\n    from glsim_mm.ops import similarity\n', []),
    ],
)
def test_the_rule_finds_what_it_should(tmp_path, source, expected):
    (tmp_path / 'x.py').write_text(source)
    imports = Imports('x', tmp_path / 'x.py')
    assert find_needless_waits('x', imports, frozenset(imports.on_loading) & HEAVY) == expected


def test_every_module_of_retrieval_loads_without_a_model_stack():
    """Each of them is imported; the contracts see import statements, this sees what dependencies drag in."""
    names = [name for name in MODULES if name.startswith('retrieval')]
    program = (
        'import importlib, sys\n'
        f'for name in {names!r}:\n    importlib.import_module(name)\n'
        'print(len(sys.modules.keys() & {"cv2", "glsim_mm", "mmcv", "mmengine", "mmpretrain", "PIL", "torch"}))'
    )
    result = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '0'
