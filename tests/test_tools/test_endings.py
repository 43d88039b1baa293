"""Every command ends by naming the files that it wrote and the likely next command."""

import argparse
import ast
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_run import ROOT, call_tool, load_tool

from glsim_mm.command import COMMANDS, find_script
from retrieval.gallery import Record, create_gallery


@pytest.fixture
def cli():
    return load_tool('train').cli


def ending(cli, capsys, end=None, **outputs) -> list[str]:
    """What is on standard error after a tool whose ``main`` returns ``end``."""

    def main(args):
        for name in ('a.json', 'my file.json'):
            Path(name).write_text('')
        Path('folder').mkdir(exist_ok=True)
        return end

    cli.run(main, argparse.Namespace(**outputs), needs_model=False)
    captured = capsys.readouterr()
    assert captured.out == ''
    return captured.err.splitlines()


def test_what_was_written_is_named(cli, capsys, tmp_path):
    outputs = dict(out=[cli.OutputFile('a.json'), cli.OutputFile(tmp_path / 'my file.json')], html=cli.OutputFile('no'))
    outputs.update(show_dir=cli.OutputFolder('folder'), sheet=cli.OutputFile('/dev/null'), report=None)
    assert ending(cli, capsys, **outputs) == ['written: a.json, my file.json, folder']
    assert ending(
        cli, capsys, cli.End(written=['folder', str(tmp_path / 'folder'), 'nowhere']), out=outputs['out'][0]
    ) == ['written: folder, a.json']
    assert ending(cli, capsys) == []


def test_the_next_command_is_written_as_this_one_was(cli, capsys, monkeypatch, tmp_path):
    config = str(ROOT / 'configs' / 'glsim_vit_cub.py')
    end = cli.End('test', config, str(tmp_path / 'my weights.pth'), 'milvus://host:1/x')
    arguments = "glsim_vit_cub 'my weights.pth' milvus://host:1/x"
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/glsim train'])
    assert ending(cli, capsys, end) == [f'next: glsim test {arguments}']
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    assert ending(cli, capsys, end) == [f'next: python {ROOT}/tools/test.py {arguments}']
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, '_check_outputs', lambda args: [])
    cli.run(lambda args: cli.End('info', 'gallery'), argparse.Namespace(), needs_model=False)
    assert capsys.readouterr().err == 'next: python tools/retrieval/info.py gallery\n'


def test_scripts_and_all_processes_but_the_first_leave_it_out(cli, capsys, monkeypatch):
    monkeypatch.setenv('GLSIM_NO_NEXT', '1')
    assert ending(cli, capsys, cli.End('info', 'gallery', written=['folder'])) == []
    monkeypatch.delenv('GLSIM_NO_NEXT')
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert ending(cli, capsys, cli.End('info', 'gallery', written=['folder'])) == []


def endings_of(script: str) -> list[str]:
    """Commands that a script names as the next."""
    calls = [node for node in ast.walk(ast.parse((ROOT / 'tools' / script).read_text())) if isinstance(node, ast.Call)]
    return [call.args[0].value for call in calls if ast.unparse(call.func) == 'cli.End' and call.args[:1]
            and isinstance(call.args[0], ast.Constant)]  # fmt: skip


def ends(script: str) -> bool:
    """Whether a script leads on wherever its ``main`` ends."""
    tree = ast.parse((ROOT / 'tools' / script).read_text())
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == 'main')
    returned = [node for node in ast.walk(main) if isinstance(node, ast.Return)]
    return ast.unparse(main.returns) == 'cli.End' and bool(returned) and main.body[-1] in returned


def test_next_commands_exist():
    scripts = {name: script for commands in COMMANDS.values() for name, script in commands.items()}
    following = {name: endings_of(script) for name, script in scripts.items()}
    assert {command for commands in following.values() for command in commands} <= set(scripts)
    assert all(ends(script) for script in scripts.values()), [name for name in scripts if not ends(scripts[name])]
    for name in ('build', 'add', 'sync', 'restore'):
        assert 'search' in following[name], name
    assert sorted(following['search']) == ['add', 'build', 'search']  # of a folder of photos, and of a gallery


def test_the_next_command_can_be_typed(capsys):
    with create_gallery('my gallery', 4) as gallery:
        gallery.add(np.eye(4, dtype=np.float32), [Record(path=f'{row}.jpg', label='a') for row in range(4)])
    call_tool('retrieval/backup', 'my gallery', 'my backup')
    written, following = capsys.readouterr().err.splitlines()
    assert written == 'written: my backup'
    python, script, *arguments = shlex.split(following.removeprefix('next: '))
    assert python == 'python' and Path(script) == find_script('info')
    call_tool('retrieval/info', *arguments)
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == 'every file is as it was written'


def test_labels_removals_and_their_dry_runs_lead_on(capsys, monkeypatch):
    with create_gallery('gallery', 4) as gallery:
        gallery.add(np.eye(4, dtype=np.float32), [Record(path=f'{row}.jpg', label='a') for row in range(4)])
    call_tool('retrieval/label', 'gallery', '--where', 'label=a', '--set', 'label=b')
    assert capsys.readouterr().err.endswith('retrieval/label.py gallery --history\n')
    call_tool('retrieval/label', 'gallery', '--history')
    assert capsys.readouterr().err.endswith('retrieval/search.py gallery PHOTO.jpg\n')
    dry = ('gallery', '--where', 'label=b', '--dry-run')
    monkeypatch.setattr(sys, 'argv', ['remove.py', *dry])
    call_tool('retrieval/remove', *dry)
    assert capsys.readouterr().err.endswith('retrieval/remove.py gallery --where label=b\n')
    call_tool('retrieval/remove', 'gallery', '--where', 'label=b')
    assert capsys.readouterr().err.endswith('retrieval/info.py gallery\n')
