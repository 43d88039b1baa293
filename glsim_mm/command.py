"""The console command ``glsim``: each of its commands is a script of ``tools/``, run in this process.

A script is described by the first line of its docstring, which is read without running it.
"""

import ast
import io
import re
import sys
import textwrap
from contextlib import redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from .errors import GLSimError, report_user_errors
from .shipped_files import find_shipped_folder, list_configs
from .version import __version__

COMMANDS = {
    'set up': {
        'doctor': 'doctor.py',
        'gpu-check': 'gpu_check.py',
        'init': 'init.py',
    },
    'train and test': {
        'train': 'train.py',
        'test': 'test.py',
        'infer': 'infer.py',
        'look': 'look.py',
        'sweep': 'sweep.py',
        'compare': 'compare.py',
    },
    'data': {
        'stats': 'datasets/stats.py',
        'prepare': 'datasets/prepare.py',
        'make-demo': 'datasets/make_demo.py',
        'export-boxes': 'datasets/export_boxes.py',
    },
    'search': {
        'build': 'retrieval/build.py',
        'ray-encode': 'ray_encode.py',
        'search': 'retrieval/search.py',
        'serve': 'serve.py',
        'classify': 'retrieval/classify.py',
        'detect-and-search': 'detect_and_search.py',
        'duplicates': 'retrieval/duplicates.py',
        'audit': 'retrieval/audit.py',
        'classes': 'retrieval/classes.py',
        'evaluate': 'retrieval/evaluate.py',
    },
    'galleries': {
        'info': 'retrieval/info.py',
        'add': 'retrieval/add.py',
        'sync': 'retrieval/sync.py',
        'label': 'retrieval/label.py',
        'export-rows': 'retrieval/export_rows.py',
        'metric': 'retrieval/metric.py',
        'choose': 'retrieval/choose.py',
        'tune': 'retrieval/tune.py',
        'remove': 'retrieval/remove.py',
        'backup': 'retrieval/backup.py',
        'restore': 'retrieval/restore.py',
        'swap': 'retrieval/swap.py',
        'migrate': 'retrieval/migrate.py',
    },
    'weights and exported models': {
        'checkpoints': 'checkpoints.py',
        'export': 'export.py',
        'infer-exported': 'infer_exported.py',
    },
    'measure': {
        'benchmark': 'benchmark.py',
        'benchmark-encoding': 'retrieval/benchmark_encoding.py',
        'benchmark-index': 'retrieval/benchmark.py',
        'choose-region': 'analysis/choose_region.py',
        'crop-curve': 'analysis/crop_curve.py',
        'retriever-speed': 'analysis/retriever_speed.py',
        'selection-cost': 'analysis/selection_cost.py',
        'selection-quality': 'analysis/selection_quality.py',
    },
}
"""Scripts below ``tools/`` by purpose and name of the command."""

_RENAMED = {'visualize': 'look'}
_USAGE = """usage: glsim COMMAND [ARGUMENT ...]
       glsim COMMAND --help
       glsim [--help | --version | --completion]

Fine-grained image recognition and image search with GLSim.
"""
_END = """
Each command is the script of its name in tools/, with the same arguments.
--completion prints completion for bash and zsh, to be sourced: names of
commands, of their options, and of the configs that the package ships."""
# Words are separated by line breaks, so that names of files may hold blanks. bash 3.2 of macOS knows all of this.
_COMPLETION = """# Completion of glsim, written by: glsim --completion. Make it again after an update.
[ -z "$ZSH_VERSION" ] || {{ autoload -U +X bashcompinit && bashcompinit; }}
_glsim() {{
    local IFS=$'\\n' current=${{COMP_WORDS[COMP_CWORD]}} words=
    if [ "$COMP_CWORD" = 1 ]; then
        words={commands}
    else
        case ${{COMP_WORDS[1]}}:$current in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -o filenames -F _glsim glsim
"""


def main() -> None:
    """Run the command that the command line names."""
    with report_user_errors():
        words = sys.argv[1:] or ['--help']
        answers = {
            '--help': describe_commands,
            '-h': describe_commands,
            '--version': lambda: f'glsim_mm {__version__}',
            '--completion': write_completion,
        }
        if words[0] in answers:
            sys.stdout.write(f'{answers[words[0]]()}\n')
            return
        script = find_script(words[0])
    run_script(script, words)


def find_script(name: str) -> Path:
    """The script of a command.

    Raises:
        GLSimError: If there is no such command, with the nearest.
    """
    scripts = {name: script for group in COMMANDS.values() for name, script in group.items()}
    script = scripts.get(name.replace('_', '-'))
    if name in _RENAMED:
        raise GLSimError(f'glsim {name} is called glsim {_RENAMED[name]} now')
    if script is None:
        near = ' or '.join(get_close_matches(name, scripts))
        raise GLSimError(f'there is no command {name!r}; {f"did you mean {near}?" if near else "glsim --help has all"}')
    return find_shipped_folder() / 'tools' / script


def run_script(script: Path, words: list[str]) -> None:
    """Run a script as Python runs it; ``words`` are the name of its command, which it takes for its own, and arguments.

    The module is in the place of the main one, as processes that load photos run its file again where they cannot fork.
    """
    sys.argv = [f'glsim {words[0]}', *words[1:]]
    sys.path.insert(0, str(find_shipped_folder() / 'tools'))
    sys.modules['__main__'] = module = ModuleType('__main__')
    module.__file__ = str(script)
    exec(compile(script.read_bytes(), script, 'exec'), vars(module))


def describe_commands() -> str:
    """All commands by their purpose, in lines of 80 columns."""
    lines = [_USAGE]
    for purpose, commands in COMMANDS.items():
        lines.append(f'{purpose}:')
        for name in commands:
            lines += textwrap.wrap(
                f'{name:<20}{describe_script(find_script(name))}',
                width=80,
                initial_indent='  ',
                subsequent_indent=' ' * 22,
                break_on_hyphens=False,
            )
    return '\n'.join([*lines, _END])


def describe_script(script: Path) -> str:
    """What a script is for: the first line of its docstring, up to the example of its use."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding='utf-8'))) or ''
    return re.split(r'(?<=\?) glsim |: glsim ', docstring, maxsplit=1)[0]


def write_completion() -> str:
    """A script for bash and zsh, made of what the commands' ``--help`` says."""
    names = [name for commands in COMMANDS.values() for name in commands]
    configs = [path.stem for path in list_configs()]
    cases = []
    for name in names:
        shown = _read_help(name)
        actions = [one for line in re.findall(r'^  {(.+?)}', shown, re.MULTILINE) for one in line.split(',')]
        shown += ''.join(_read_help(name, action) for action in actions)
        options = re.findall(r'^  (?:-\w\b.*?, )?(--[\w-]+)', shown, re.MULTILINE)
        cases.append((f'{name}:-*', list(dict.fromkeys(options))))
        if actions:
            cases.append((f'{name}:*', actions))
        elif re.search('^  config ', shown, re.MULTILINE):
            cases.append((f'{name}:?*', configs))
    lines = [f'        {pattern}) words={_quote(words)} ;;' for pattern, words in cases]
    return _COMPLETION.format(commands=_quote(names), cases='\n'.join(lines))


def _read_help(*words: str) -> str:
    """What ``--help`` of a command prints."""
    printed, before = io.StringIO(), (sys.argv, sys.path[:], sys.modules['__main__'])
    try:
        with redirect_stdout(printed):
            run_script(find_script(words[0]), [*words, '--help'])
    except SystemExit:
        pass
    finally:
        sys.argv, sys.path[:], sys.modules['__main__'] = before
    return printed.getvalue()


def _quote(words: list[str]) -> str:
    """Words as one word of a shell, separated by line breaks."""
    return "$'" + '\\n'.join(words) + "'"
