"""What libraries in C write to standard error while they decode photos, as libjpeg does of damaged ones."""

import faulthandler
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


@contextmanager
def errors_of_c_go_to(file: IO) -> Iterator[None]:
    """Send what libraries in C write to standard error to a file, as "Corrupt JPEG data" by libjpeg.

    What Python writes there still reaches the terminal, and so does where Python was if the process is killed by a
    library.
    """
    if _file_number(sys.stderr) != 2:
        yield
        return
    python, terminal = sys.stderr, os.dup(2)
    sys.stderr = os.fdopen(terminal, 'w', buffering=1, encoding=python.encoding, errors='backslashreplace')
    python.flush()
    os.dup2(file.fileno(), 2)  # the same open file: neither writes over the other
    was_enabled = faulthandler.is_enabled()
    faulthandler.enable(sys.stderr)
    try:
        yield
    finally:
        faulthandler.enable(python) if was_enabled else faulthandler.disable()
        os.dup2(terminal, 2)
        ours, sys.stderr = sys.stderr, python
        ours.close()


@contextmanager
def errors_of_c_last() -> Iterator[None]:
    """Tell what libraries in C write to standard error in the end: each sentence once, with its number."""
    with tempfile.TemporaryFile('w+', encoding='utf-8', errors='replace') as file:
        with errors_of_c_go_to(file):
            yield
        file.seek(0)
        said = Counter(filter(None, map(str.strip, file)))
    for sentence, count in said.items():
        sys.stderr.write(f'warning: {sentence}{f", {count} times" if count > 1 else ""}\n')


def _file_number(stream: Any) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError, io.UnsupportedOperation):
        return None
