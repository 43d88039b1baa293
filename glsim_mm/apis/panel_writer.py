"""Panels of predictions, to a folder or a window."""

from pathlib import Path, PurePosixPath

from mmpretrain.visualization import UniversalVisualizer
from PIL import Image

from ..visualization import Prediction, draw_panel


class PanelWriter:
    """Draws one panel per prediction, and never writes two of one run to one file.

    Args:
        folder: Where PNG files are written, if they are; made if need be.
        show: Show each panel in a window.
        wait_time: Seconds for which to show it; 0 waits for a key.
        side: Height of the pictures in a panel in pixels.

    Example::

        writer = PanelWriter('panels')
        writer(prediction, 'birds/001.jpg')  # panels/birds/001.png
    """

    def __init__(
        self, folder: str | Path | None = None, show: bool = False, wait_time: float = 0, side: int = 224
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.wait_time = wait_time
        self.side = side
        self._window = UniversalVisualizer() if show else None
        self._taken: set[str] = set()

    def __call__(self, prediction: Prediction, name: str) -> Path | None:
        """Draw a panel, and return the file, if any.

        ``name`` is the relative path of the image, whose folders are kept.
        """
        panel = draw_panel(prediction, self.side)
        if self._window is not None:
            self._window.show(panel, win_name=name, wait_time=self.wait_time)
        if self.folder is None:
            return None
        path = self.folder / f'{self._free_name(name, prediction.path)}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(panel).save(path)
        return path

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._window.close()

    def _free_name(self, name: str, image_path: str | None) -> str:
        """The image's name without suffix, or, where taken, with its suffix, with its folder, or with a number."""
        relative = PurePosixPath(name)
        parent = Path(image_path).absolute().parent.name if image_path else ''
        candidates = [str(relative.with_suffix('')), str(relative), f'{parent}_{relative.name}']
        free = next((candidate for candidate in candidates if candidate.lower() not in self._taken), None)
        number = 2
        while free is None or free.lower() in self._taken:  # file systems may not tell case apart
            free = f'{relative}_{number}'
            number += 1
        self._taken.add(free.lower())
        return free
