"""What trainings and tests print: answers and warnings on the terminal, everything else in the log file."""

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fresh_processes import run_tool
from PIL import Image
from tiny_run import call_tool, read_log, write_config, write_images

NOISE = ('Config:', 'sys.platform', 'Hooks will be executed', 'HardDiskBackend', 'Corrupt JPEG data', 'mmengine - ')


def in_a_terminal(*command: object, cwd: Path) -> tuple[int, str]:
    """Run a tool in a terminal of 80 columns; return its exit code and what it wrote there."""
    terminal, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    written = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(terminal, 65536):
                written.extend(chunk)
        except OSError:  # the other end is closed
            pass

    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(read)
        result = run_tool(*command, cwd=cwd, terminal=os.ttyname(child), TERM='xterm')
        os.close(child)
        reading.result()
    os.close(terminal)
    return result.returncode, written.decode()


def what_stays(written: str) -> list[str]:
    """The lines that an endless terminal shows in the end; colours and other signs of control are left out."""
    lines, row, column = [''], 0, 0
    for part in re.findall(r'\x1b\[[0-9;?]*[a-zA-Z]|[\r\n]|[^\r\n\x1b]+', written):
        if part == '\r':
            column = 0
        elif part == '\n':
            row += 1
            lines += [''] * (row == len(lines))
        elif part.startswith('\x1b['):
            if part.endswith('A'):
                row = max(0, row - int(part[2:-1] or 1))
            elif part == '\x1b[2K':
                lines[row] = ''
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line for line in lines if line.strip()]


def photo_that_libjpeg_complains_about(path: Path) -> None:
    file = io.BytesIO()
    Image.effect_noise((32, 32), 90).convert('RGB').save(file, 'JPEG')
    content = file.getvalue()
    path.write_bytes(content[:-2] + b'\x12' * 40 + content[-2:])  # more bytes before the end mark than any photo needs


@pytest.mark.slow
def test_training_in_a_pipe_prints_a_line_per_epoch_and_the_log_has_the_rest(tmp_path):
    images = write_images(tmp_path / 'images')
    for index in (1, 2, 3):
        (images / 'train' / 'plain' / f'plain{index}.png').unlink()
    photo_that_libjpeg_complains_about(images / 'train' / 'striped' / 'odd.jpg')
    config = write_config(tmp_path / 'tiny_piped.py', images)
    result = run_tool('train', config, '--work-dir', 'work', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    written, following = result.stderr.splitlines()
    assert written == 'written: work'
    assert '\x1b' not in result.stdout and '\r' not in result.stdout
    first, second, warning, *epochs, best, last = result.stdout.splitlines()
    assert first == 'training tiny_piped (GLSimClassifier) on cpu: 6 photos of 2 classes, 8 to validate'
    assert re.fullmatch(r'2 epochs of 2 iterations; log: work/\w+/\w+\.log', second)
    assert warning.startswith('warning: data: classes of one image: 1 (plain); listed by: glsim stats')
    for number, line in enumerate(epochs, 1):
        figures = r'loss \d\.\d{4}, lr [\d.e-]+, accuracy/top1 \d+\.\d\d( \(best\))?, \d:\d\d:\d\d'
        assert re.fullmatch(rf'epoch {number}/2: {figures}', line), line
    assert len(epochs) == 2 and '(best)' in epochs[0]
    assert re.fullmatch(r'best checkpoint: work/best_accuracy_top1_epoch_\d\.pth \(\d+\.\d\d\)', best)
    assert last == 'last checkpoint: work/epoch_2.pth'
    log = read_log(tmp_path / 'work')
    for text in NOISE:
        assert text in log and text not in result.stdout
    assert log.count('Epoch(train)') == 2 and 'data: classes of one image' in log

    _, tool, *arguments = shlex.split(following.removeprefix('next: '))
    tested = run_tool(Path(tool), *arguments, '--work-dir', 'tested', cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    score = best.partition('(')[2].rstrip(')')
    first, second, *metrics = tested.stdout.splitlines()
    assert first == 'testing tiny_piped (GLSimClassifier) on cpu: 8 photos of 2 classes'
    assert second.startswith('log: tested/') and f'accuracy/top1: {score}' in metrics
    assert len(metrics) < 7 and not any(text in tested.stdout + tested.stderr for text in NOISE)


@pytest.mark.slow
def test_training_in_a_terminal_has_a_bar_that_leaves_nothing_behind(tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_drawn.py', tiny_images)
    options = ('--cfg-options', 'train_cfg.max_epochs=5')
    code, written = in_a_terminal('train', config, '--work-dir', 'work', *options, cwd=tmp_path)
    assert code == 0, written
    bars = [re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', part) for part in re.split(r'[\r\n]', written) if '━' in part]
    assert any(
        re.search(r'/10 +epoch \d, loss \d\.\d\d, lr [\d.e-]+, top-1 \d+\.\d +\d:\d\d:\d\d', bar) for bar in bars
    )
    assert all(len(bar) <= 80 for bar in bars)
    lines = what_stays(written)
    assert [line.partition(':')[0].split()[0] for line in lines] == [
        *('training', '5', *('epoch',) * 5, 'best', 'last', 'written', 'next')
    ]
    assert written.rindex('\x1b[?25h') > written.rindex('\x1b[?25l')  # the cursor is back


@pytest.mark.slow
def test_an_error_stands_last_and_alone(tiny_images, tmp_path):
    exploding = "param_scheduler = [dict(type='MultiStepLR', gamma=1e30, milestones=[1])]\n"
    config = write_config(tmp_path / 'tiny_failing.py', tiny_images, exploding)
    code, written = in_a_terminal('train', config, '--work-dir', 'work', cwd=tmp_path)
    lines = what_stays(written)
    assert code == 2
    assert ''.join(lines).count('error: ') == 1
    at = next(index for index, line in enumerate(lines) if line.startswith('error: the loss became NaN or infinite'))
    assert lines[at - 1].startswith('epoch 1/2: ')
    assert len(written[written.index('error: ') :].splitlines()) == 1  # it may be longer than the terminal is wide


def test_verbose_prints_the_whole_log(tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_verbose.py', tiny_images)
    options = ('--cfg-options', 'train_cfg.max_epochs=1')
    call_tool('train', config, '--work-dir', tmp_path / 'work', '--verbose', *options)
    printed = capsys.readouterr().out
    assert 'Config:' in printed and 'Epoch(train)' in printed and 'epoch 1/1: ' not in printed
