"""An encoder that some photos kill, in a process that has none of the test's modules."""

import os
import signal
from pathlib import Path

from mean_encoder import MeanEncoder


class MortalEncoder(MeanEncoder):
    """Dies of ``deadly.png``, as a process out of memory does: once for each file in a folder, which it removes."""

    def __init__(self, lives: Path) -> None:
        super().__init__()
        self.lives = lives

    def prepare(self, items, position):
        if items[position].path.endswith('deadly.png'):
            for life in self.lives.iterdir():
                life.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(items, position)
