"""Every option of a tool that names a file or folder to write is tried before the work begins."""

import argparse
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_files import colored_files, write_files
from tiny_run import ROOT, load_tool, run_command

TOOLS = sorted(
    str(path.relative_to(ROOT / 'tools').with_suffix(''))
    for path in (ROOT / 'tools').rglob('*.py')
    if path.name != 'command_line.py'
)
NAMES = {'out', 'out_dir', 'out_file', 'show_dir', 'work_dir', 'sheet', 'html', 'error_report', 'config_out', 'target'}
NUM_PHOTOS = 400


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from options_of(sub)
        else:
            yield action


def parser_of(tool: str, monkeypatch: pytest.MonkeyPatch) -> tuple:
    """The module of a tool, and the parser that its parse_args makes."""
    module, made = load_tool(tool), []
    real = argparse.ArgumentParser.__init__

    def remember(self, *arguments, **settings) -> None:
        made.append(self)
        real(self, *arguments, **settings)

    monkeypatch.setattr(argparse.ArgumentParser, '__init__', remember)
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit):
        module.parse_args()
    return module, made[0]


@pytest.mark.parametrize('tool', TOOLS)
def test_all_outputs_are_tried(tool, monkeypatch, tmp_path, capsys):
    module, parser = parser_of(tool, monkeypatch)
    options = list(options_of(parser))
    outputs = [option for option in options if option.type in (module.cli.OutputFile, module.cli.OutputFolder)]
    takes_path = [option for option in options if option.dest in NAMES and option.nargs != 0]
    takes_path += [option for option in options if option.dest == 'json' and option.nargs != 0]
    assert set(map(id, takes_path)) <= set(map(id, outputs)), [option.dest for option in takes_path]
    (tmp_path / 'file').touch()
    for option in outputs:
        wrong = tmp_path / 'file' if option.type is module.cli.OutputFolder else tmp_path
        for place in (tmp_path / 'file' / 'below', wrong):
            value = option.type(str(place))
            args = argparse.Namespace(**{option.dest: [value] if option.nargs else value})
            with pytest.raises(SystemExit):
                module.cli.run(lambda args: pytest.fail('the work began'), args, needs_model=False)
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f'error: {place} cannot be written (') and line.endswith('choose another place')


def test_real_commands_stop_before_they_load_a_model(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'config.py').touch()
    (tmp_path / 'weights.pth').touch()
    for tool, *arguments in (
        ('train', 'config.py', '--work-dir', 'file'),
        ('infer', 'config.py', 'weights.pth', 'config.py', '--out', '.'),
        ('retrieval/migrate', 'nowhere', 'file/gallery'),
    ):
        result = run_command(sys.executable, ROOT / 'tools' / f'{tool}.py', *arguments, cwd=tmp_path)
        (line,) = result.stderr.splitlines()
        assert result.returncode == 2 and 'cannot be written' in line, result.stderr


@pytest.fixture(scope='module')
def exported(made, tmp_path_factory) -> tuple[Path, Path]:
    """An .onnx file and a folder of photos."""
    folder = tmp_path_factory.mktemp('outputs')
    (folder / 'photos').mkdir()
    write_files(folder / 'photos', {f'{index:03}.png': colored_files()['rgb.png'] for index in range(NUM_PHOTOS)})
    return made[3], folder / 'photos'


@pytest.mark.slow
def test_results_so_far_outlive_a_kill(exported, tmp_path):
    """The program cannot come to its end: a pipe that nobody reads takes 4096 bytes, and a line has 60 and more."""
    command = [sys.executable, str(ROOT / 'tools' / 'infer_exported.py'), *map(str, exported), '--batch-size', '4']
    process = subprocess.Popen([*command, '--out', str(tmp_path / 'results.json')], stdout=subprocess.PIPE, pipesize=1)
    for _ in range(6):
        assert process.stdout.readline()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    results = json.loads((tmp_path / 'results.json').read_text())
    assert 6 <= len(results) < NUM_PHOTOS
    assert [Path(result['path']).name for result in results] == [f'{index:03}.png' for index in range(len(results))]


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error(exported):
    command = [sys.executable, str(ROOT / 'tools' / 'infer_exported.py'), *map(str, exported)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b''
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='a device of Linux')
def test_a_log_on_a_full_disk_says_nothing_and_a_result_names_its_place(capsys):
    cli = load_tool('infer').cli
    logger = logging.getLogger('test_full_disk')
    logger.addHandler(logging.FileHandler('/dev/full'))

    def main(args: argparse.Namespace) -> None:
        logger.error('cannot be written')
        with open('/dev/full', 'w') as file:
            file.write('x')

    with pytest.raises(SystemExit):
        cli.run(main, argparse.Namespace(out=cli.OutputFile('results.json')), needs_model=False)
    logger.handlers.clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        'error: results.json cannot be written (No space left on device); free some space, or choose another place'
    )


@pytest.mark.slow
def test_interrupted_predictions_end_in_a_word(exported, tmp_path):
    command = [sys.executable, str(ROOT / 'tools' / 'infer_exported.py'), *map(str, exported), '--batch-size', '4']
    process = subprocess.Popen(
        [*command, '--out', str(tmp_path / 'results.json')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=1
    )
    for _ in range(6):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, b'stopped\n')
    assert 6 <= len(json.loads((tmp_path / 'results.json').read_text())) < NUM_PHOTOS
