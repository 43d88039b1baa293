"""The console command: every script of tools/ under its name, in a process that loads nothing heavy for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import ROOT

from glsim_mm.command import COMMANDS, describe_commands, describe_script, find_script

SCRIPTS = {name: script for commands in COMMANDS.values() for name, script in commands.items()}
GLSIM = """
import sys
sys.argv[0] = 'glsim'
from glsim_mm.command import main
main()
"""
# Each line of standard input is a command line; their outputs come one after the other, between lines of the command.
MANY = """
import io, sys
from contextlib import redirect_stdout
from glsim_mm.command import main
for line in sys.stdin.read().splitlines():
    sys.argv, printed = ['glsim', *line.split()], io.StringIO()
    with redirect_stdout(printed):
        try:
            main()
        except SystemExit as end:
            assert not end.code, line
    print(f'$ {line}', printed.getvalue(), sep=chr(10), end='')
"""


def run(program: str, *words: object, cwd: Path = ROOT, **settings) -> subprocess.CompletedProcess:
    """A program without site-packages (-S): Python alone."""
    env = {'PYTHONPATH': str(ROOT), 'COLUMNS': '80', 'PATH': ''}
    command = [sys.executable, '-S', '-c', program, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, **settings)


def test_every_script_that_a_user_runs_is_a_command():
    scripts = {path.relative_to(ROOT / 'tools').as_posix() for path in (ROOT / 'tools').rglob('*.py')}
    assert sorted(SCRIPTS.values()) == sorted(scripts - {'command_line.py'})


@pytest.mark.parametrize('words', [(), ('--help',), ('-h',)])
def test_commands_are_listed_by_purpose_without_anything_installed(words):
    result = run(GLSIM, *words)
    assert result.stdout == describe_commands() + '\n' and (result.returncode, result.stderr) == (0, '')
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.endswith(':')] == [f'{purpose}:' for purpose in COMMANDS]
    assert '  add                 Encode more images into a gallery' in lines
    assert [name for name in SCRIPTS if f'\n  {name} ' not in result.stdout] == []


@pytest.mark.parametrize('name', SCRIPTS)
def test_a_script_says_in_one_line_what_it_is_for(name):
    description, script = describe_script(find_script(name)), find_script(name).read_text().splitlines()[0]
    assert 10 < len(description) < len(script) and 'tools/' not in description
    assert f' glsim {name}' in script


def test_texts_name_commands_and_not_scripts():
    files = [path for folder in ('glsim_mm', 'retrieval', 'tools') for path in (ROOT / folder).rglob('*.py')]
    found = {path: [script for script in SCRIPTS.values() if f'tools/{script}' in path.read_text()] for path in files}
    assert len(files) > 200 and {path.name: scripts for path, scripts in found.items() if scripts} == {}


def test_help_shows_the_name_of_the_command_in_80_columns():
    lines = [f'{name} --help' for name in SCRIPTS]
    lines += [f'checkpoints {action} --help' for action in ('inspect', 'convert', 'export', 'publish')]
    lines += [f'benchmark {task} --help' for task in ('inference', 'training', 'loading')]
    result = run(MANY, input='\n'.join(lines))
    assert result.returncode == 0, result.stderr
    shown = result.stdout.split('$ ')[1:]
    assert len(shown) == len(lines)
    for line, text in zip(lines, shown):
        assert f'\nusage: glsim {line.removesuffix("--help")}' in text, text
        assert [long for long in text.splitlines() if len(long) > 80] == []


@pytest.mark.parametrize(
    'word, message',
    [
        ('serch', "there is no command 'serch'; did you mean search or serve?"),
        ('trian', "there is no command 'trian'; did you mean train?"),
        ('xyz', "there is no command 'xyz'; glsim --help has all"),
        ('--hlep', "there is no command '--hlep'; glsim --help has all"),
    ],
)
def test_an_unknown_command_is_told_with_the_nearest(word, message):
    result = run(GLSIM, word)
    assert (result.returncode, result.stdout, result.stderr) == (2, '', f'error: {message}\n')


def test_names_of_scripts_are_understood():
    assert find_script('make_demo') == find_script('make-demo') == ROOT / 'tools' / 'datasets' / 'make_demo.py'


def test_mistakes_end_as_those_of_the_script(tmp_path):
    result = run(GLSIM, 'stats', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == 'error: the following arguments are required: config (see glsim stats --help)\n'
    result = run(GLSIM, 'train', 'glsim_vit_cup', cwd=tmp_path)
    assert result.returncode == 2 and 'the nearest are glsim_vit_cub' in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_script_is_the_main_module(tmp_path):
    """Processes that load photos run its file again where they are not forked."""
    script = tmp_path / 'script.py'
    script.write_text('import sys\nmain = sys.modules["__main__"]\nprint(main.__file__, main.__spec__, sys.argv)\n')
    program = 'import sys\nfrom pathlib import Path\nfrom glsim_mm.command import run_script\n'
    result = run(program + 'run_script(Path(sys.argv[1]), ["name", "a"])', script)
    assert result.stdout == f"{script} None ['glsim name', 'a']\n", result.stderr


@pytest.mark.parametrize(
    'words, expected',
    [
        (['glsim', 'tra'], ['train']),
        (['glsim', 'infer', '--sel'], ['--selector']),
        (['glsim', 'export-boxes', '--s'], ['--single-class', '--shape']),
        (['glsim', 'checkpoints', ''], ['inspect', 'convert', 'export', 'publish']),
        (['glsim', 'checkpoints', 'convert', '--lay'], ['--layout']),
        (['glsim', 'train', 'glsim_vit_flowers_4'], ['glsim_vit_flowers_448']),
        (['glsim', 'train', ''], []),  # files, as for any command
        (['glsim', 'search', 'gal'], []),
    ],
)
def test_the_shell_completes(completion, words, expected):
    line = ' '.join(f"'{word}'" for word in words)
    program = f'. "$1"; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _glsim; printf "%s\\n" "${{COMPREPLY[@]}}"'
    result = subprocess.run(['bash', '-c', program, 'bash', completion], capture_output=True, text=True)
    assert (result.stdout.split(), result.stderr) == (expected, '')


@pytest.fixture(scope='module')
def completion(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('completion') / 'glsim.bash'
    result = run(GLSIM, '--completion')
    assert (result.returncode, result.stderr) == (0, '')
    path.write_text(result.stdout)
    return path
