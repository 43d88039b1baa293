"""Every fenced command and every example in README.md and docs/ runs, or says in its first line what it needs.

A block of shell commands or Python runs as it stands in a small world: a tiny model under the names that the pages use,
a dozen photos, a gallery. A block that begins with a comment ``# Needs ...`` is not run, but its command lines are
parsed by the tools' own parsers. A block that begins with ``# In a config`` is loaded as a config, or part of one.
Names of modules, functions and files between the blocks exist.
"""

import ast
import re
import shlex
import shutil
import textwrap
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine import Config
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import CLASSES, ROOT, call_tool, load_tool, write_config, write_images

from glsim_mm.command import describe_commands, find_script

pytestmark = pytest.mark.slow

PAGES = sorted(['README.md', *(path.relative_to(ROOT).as_posix() for path in (ROOT / 'docs').rglob('*.md'))])
FENCE = re.compile(r'^( *)```(\w*)\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
# Lines that are commands or code, wherever they stand at the beginning of a line.
CODE = re.compile(r'(python|bash) tools/|glsim |pip install |mim (train|test) |(from [\w.]+ )?import [\w, ]+$')
NAME = re.compile(r'`((?:glsim_mm|retrieval)(?:\.(?!py\b|X\b)\w+)+)(?=[`(])')
FILE = re.compile(r'`((?:configs|docs|glsim_mm|requirements|tests|tools)/[\w/]+\.(?:py|md|sh|txt|yml|ipynb))`')
CONFIGS = ('glsim_vit_cub', 'my_products')
# What stands for a file of the reader's own, in pages that are about no config in particular.
NAMES = {'CONFIG': 'configs/my_products.py', 'CHECKPOINT': 'work_dirs/my_products/epoch_50.pth', 'GALLERY': 'gallery'}


class Block(NamedTuple):
    language: str
    text: str

    @property
    def needs(self) -> bool:
        return self.text.startswith('# Needs ')


def read_blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding='utf-8')
    blocks = [Block(language, textwrap.dedent(block)) for _, language, block in FENCE.findall(text)]
    return [block for block in blocks if block.language in ('bash', 'python')]


def read_commands(text: str) -> list[list[str]]:
    """Words of each command of a block, without comments and assignments of environment variables."""
    commands = []
    for line in text.replace('\\\n', ' ').splitlines():
        words = [NAMES.get(word, word) for word in shlex.split(line, comments=True)]
        while words and re.fullmatch(r'[A-Z_]+=\S*', words[0]):
            words = words[1:]
        if words:
            commands.append(words)
    return commands


@pytest.fixture(scope='module')
def world(tmp_path_factory) -> Path:
    """A folder with all files that the pages name."""
    folder = tmp_path_factory.mktemp('world')
    images = write_images(folder / 'data' / 'products')
    (folder / 'configs').mkdir()
    shutil.copytree(ROOT / 'configs' / '_base_', folder / 'configs' / '_base_')
    shutil.copyfile(ROOT / 'configs' / 'glsim_vit_custom.py', folder / 'configs' / 'glsim_vit_custom.py')
    for name in CONFIGS:
        config = write_config(folder / 'configs' / f'{name}.py', images)
        weights = folder / 'work_dirs' / name / 'epoch_50.pth'
        weights.parent.mkdir(parents=True)
        model = MODELS.build(Config.fromfile(config).model)
        torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES}}}, weights)
    rng = np.random.default_rng(0)
    for name in ('photo.jpg', 'query.jpg', 'more_photos/a.jpg', 'more_photos/b.jpg'):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / name)
    shutil.copytree(images / 'val', folder / 'photos')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        call_tool(
            'retrieval/build', 'photos', NAMES['CONFIG'], NAMES['CHECKPOINT'], '--out', 'gallery', '--keep-patches'
        )
    return folder


@pytest.fixture
def place(world, tmp_path, monkeypatch) -> Path:
    """A copy of the world that a page may change."""
    copy = tmp_path / 'world'
    shutil.copytree(world, copy)
    monkeypatch.chdir(copy)
    return copy


def find_tool(words: list[str]) -> tuple[str, list[str]] | None:
    """Name of a tool, for its helpers in tests, and arguments; ``glsim`` has a short name for each tool."""
    if words[0] == 'glsim' and not words[1].startswith('-'):
        return find_script(words[1]).relative_to(ROOT / 'tools').with_suffix('').as_posix(), words[2:]
    if words[0] == 'python' and len(words) > 1 and words[1].startswith('tools/'):
        return words[1].removeprefix('tools/').removesuffix('.py'), words[2:]
    return None


def run_words(words: list[str]) -> None:
    if words[0] == 'cp':
        target = Path(words[2])
        if not target.exists():  # the copies that a reader has to edit are in the world already
            shutil.copyfile(words[1], target)
    elif words == ['glsim', '--help']:
        describe_commands()
    else:
        tool = find_tool(words)
        assert tool is not None, f'{words}: say what it needs: # Needs ...'
        name, arguments = tool
        if name == 'retrieval/build':  # the page shows how the gallery that other pages start from is made
            shutil.rmtree(words[words.index('--out') + 1], ignore_errors=True)
        call_tool(name, *arguments)


@pytest.mark.parametrize('page', [page for page in PAGES if read_blocks(page)])
def test_blocks_run_or_say_what_they_need(page, place):
    namespace: dict = {}
    for number, block in enumerate(read_blocks(page)):
        if block.language == 'bash' and not block.needs:
            for words in read_commands(block.text):
                run_words(words)
        elif block.language == 'python' and block.text.startswith('# In a config'):
            path = place / 'configs' / f'block_{number}.py'
            path.write_text(block.text)
            Config.fromfile(path)
        elif block.language == 'python':
            ast.parse(block.text)
            if not block.needs:
                exec(compile(block.text, f'{page}, block {number}', 'exec'), namespace)


@pytest.mark.parametrize('page', PAGES)
def test_no_command_stands_outside_a_block(page):
    """Indented code and blocks without a language would not be run."""
    text = (ROOT / page).read_text(encoding='utf-8')
    rest = FENCE.sub(lambda match: '' if match[2] in ('bash', 'python') else match[0], text)
    assert [line for line in rest.splitlines() if CODE.match(line.strip())] == []


@pytest.mark.parametrize('page', [*PAGES, 'CHANGELOG.md', 'CONTRIBUTING.md'])
def test_names_and_files_in_the_text_exist(page, root):
    text = FENCE.sub('', (root / page).read_text(encoding='utf-8'))
    if page == 'CHANGELOG.md':  # of what changed its name or was removed, the new names
        table, rest = text.split('### Removed')[0], text.split('### Added')[1]
        text = '\n'.join(line.split(' | ')[-1] for line in table.splitlines()) + rest
    for name in NAME.findall(text):
        resolve_name(name)
    files = [file for file in FILE.findall(text) if not re.search('/my_|NAME', file)]  # the reader's own
    assert [file for file in files if not (root / file).exists()] == []


def test_commands_that_are_not_run_are_parsed():
    """Options do not go stale where a command needs what no test has."""
    parsed = 0
    for page in PAGES:
        for block in read_blocks(page):
            if block.language != 'bash' or not block.needs:
                continue
            for words in read_commands(block.text):
                tool = find_tool(words)
                if tool is not None:
                    load_tool(tool[0]).parse_args(tool[1])
                    parsed += 1
    assert parsed > 10
