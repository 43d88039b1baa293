"""Writes the demo data set to disk, in the layout of CUB-200-2011."""

import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..errors import GLSimError
from .demo_scene import MARKS, render_scene

VERSION = 1  # raise it when pictures change
MARKER = '.glsim_demo.json'  # written last: a folder with it is complete
WORKSHOP_SUFFIX = '.glsim-demo'
LEFT_OVER_AGE = 3600  # seconds


@dataclass(frozen=True)
class DemoSettings:
    """What the demo data set holds, for example ``DemoSettings(num_classes=4, train_per_class=20)``."""

    num_classes: int = 8  # 2 to 12, taken from MARKS in order
    train_per_class: int = 300
    test_per_class: int = 50
    size: int = 96  # side of the pictures in pixels, at least 32
    seed: int = 0  # the same non-negative seed gives the same pixels

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes <= len(MARKS):
            raise GLSimError(f'the demo set has 2 to {len(MARKS)} classes, got {self.num_classes}; choose in between')
        if self.train_per_class < 1 or self.test_per_class < 1:
            raise GLSimError('the demo set needs at least one training and one test picture per class')
        if self.size < 32:
            raise GLSimError(f'pictures of {self.size} px are too small to show marks; take 32 or more')
        if self.seed < 0:
            raise GLSimError(f'the seed must not be negative, got {self.seed}')

    @property
    def num_images(self) -> int:
        """Pictures of both splits."""
        return self.num_classes * (self.train_per_class + self.test_per_class)


class _Entry(NamedTuple):
    """A picture of the set. Ids count from 1 and go through the classes in turn, training pictures first."""

    image_id: int
    label: int
    class_name: str
    path: str
    is_train: bool


def render_demo(root: str | Path, settings: DemoSettings | None = None) -> bool:
    """Render the demo set unless it exists: look-alike fish that a small mark on the flank tells apart.

    The folder appears when it is complete. A folder that an interrupted or older generator left is made anew; one
    that the generator did not make is never touched.

    Returns:
        Whether anything was rendered; False if the same set was there.
    """
    root, settings = Path(root).expanduser().absolute(), settings or DemoSettings()
    if is_complete(root, settings):
        return False
    if root.exists() and not root.is_dir():
        raise GLSimError(f'{root} is a file; choose another folder for the demo set')
    if root.exists() and _read_marker(root) is None and any(root.iterdir()):
        raise GLSimError(f'{root} holds files that are not of the demo set; choose another folder, or empty it')
    root.parent.mkdir(parents=True, exist_ok=True)
    for folder in root.parent.glob(f'.{glob.escape(root.name)}-*{WORKSHOP_SUFFIX}'):
        # Killed runs leave such folders; a recent one may belong to a run in progress.
        if time.time() - folder.stat().st_mtime > LEFT_OVER_AGE:
            shutil.rmtree(folder, ignore_errors=True)
    # Beside the target, so that renaming stays within one file system.
    with tempfile.TemporaryDirectory(WORKSHOP_SUFFIX, f'.{root.name}-', root.parent) as workshop:
        _write(Path(workshop, 'new'), settings)
        os.chmod(Path(workshop, 'new'), 0o755)
        if root.exists():
            root.rename(Path(workshop, 'old'))
        Path(workshop, 'new').rename(root)
    return True


def is_complete(root: str | Path, settings: DemoSettings) -> bool:
    """Whether a folder holds the demo set of these settings with all its pictures."""
    if _read_marker(Path(root)) != _marker(settings):
        return False
    paths = [Path(root, 'images', entry.path) for entry in _entries(settings)]
    paths += [Path(root, name) for name in _tables(settings, {})]
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def _read_marker(root: Path) -> dict | None:
    """Read the settings of the set in a folder; None if the generator did not make it."""
    try:
        marker = json.loads((root / MARKER).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and 'version' in marker else None


def _marker(settings: DemoSettings) -> dict:
    return dict(asdict(settings), version=VERSION)


def _entries(settings: DemoSettings) -> Iterator[_Entry]:
    names = list(MARKS)[: settings.num_classes]
    for index in range(settings.num_images):
        label = index % settings.num_classes
        class_name = f'{label + 1:03d}.{names[label]}_fish'
        is_train = index < settings.num_classes * settings.train_per_class
        path = f'{class_name}/{names[label]}_fish_{index + 1:05d}.png'
        yield _Entry(index + 1, label, class_name, path, is_train)


def _write(folder: Path, settings: DemoSettings) -> None:
    marks, boxes = list(MARKS.values()), {}
    for entry in _entries(settings):
        path = folder / 'images' / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The label is no seed: without their marks, pictures of all classes come from one distribution.
        scene = render_scene(marks[entry.label], settings.size, settings.seed, entry.image_id)
        Image.fromarray(scene.image).save(path, compress_level=1)
        boxes[entry.image_id] = scene.box
    for name, lines in _tables(settings, boxes).items():
        (folder / name).write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
    (folder / MARKER).write_text(json.dumps(_marker(settings)), encoding='utf-8')


def _tables(settings: DemoSettings, boxes: dict[int, tuple[int, int, int, int]]) -> dict[str, list[str]]:
    """Lines of the annotation files by their names."""
    entries = list(_entries(settings))
    classes = sorted({entry.class_name for entry in entries})
    return {
        'classes.txt': [f'{number} {name}' for number, name in enumerate(classes, start=1)],
        'images.txt': [f'{entry.image_id} {entry.path}' for entry in entries],
        'image_class_labels.txt': [f'{entry.image_id} {entry.label + 1}' for entry in entries],
        'train_test_split.txt': [f'{entry.image_id} {int(entry.is_train)}' for entry in entries],
        'bounding_boxes.txt': [' '.join(map(str, (image_id, *box))) for image_id, box in boxes.items()],
    }
