"""Reports as pages of HTML of a limited size, which are written piece by piece and name each other."""

import base64
import datetime
import html
import io
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from retrieval.names import pretty_name

from ..errors import GLSimError
from ..output_files import replace_with
from .panel import percent

PAGE_BYTES = 20 << 20
TEMPLATES = Path(__file__).parent / 'templates'
_PIECES = '<!-- pieces -->'
_HEAD_BYTES = 2048

# Makes a piece of a page from what the pieces before it have left on that page.
Piece = Callable[[dict[Any, Any]], str]


def write_pages(
    path: str | Path, template: str, pieces: Iterable[Piece], limit: int = PAGE_BYTES, **content: Any
) -> list[Path]:
    """Write a report as ``NAME.html``, and what does not fit into ``limit`` bytes as ``NAME-2.html`` and so on.

    No more than one piece is in memory. A piece that is larger than a page has a page of its own. Pages that an
    earlier report of that name left are removed.

    Args:
        path: The first page.
        template: Of ``templates/``, made on ``base.html``; its pieces stand at ``{{ pieces | safe }}``.
        pieces: Functions from what the earlier pieces of the page have left there to HTML.
        limit: Bytes of a page.
        **content: What the template shows; ``page`` is the number of the page.

    Returns:
        The files.

    Raises:
        GLSimError: If one cannot be written, or another file has the name of a page.
    """
    first, waiting = Path(path), iter(pieces)
    render = _renderer(template)
    number = 2
    while _is_page(_page_path(first, number), first):
        _page_path(first, number).unlink()
        number += 1
    piece, number, written = next(waiting, None), 0, []

    def write(partial: Path) -> None:
        nonlocal piece
        links = dict(page=number, name=first.name, start=quote(first.name))
        links['previous'] = quote(_page_path(first, number - 1).name)
        following = quote(_page_path(first, number + 1).name)
        # Whether there is another page is not known before this one is full, so only its end can say so.
        start, last = _split(render(**content, **links, following=''))
        end = _split(render(**content, **links, following=following))[1]
        with partial.open('wb') as file:
            size, left, is_empty = file.write(start) + len(end), {}, True
            while piece is not None:
                data = piece(left).encode('utf-8', 'backslashreplace')
                if size + len(data) > limit and not is_empty:
                    break
                size, is_empty = size + file.write(data), False
                piece = next(waiting, None)
            file.write(last if piece is None else end)

    while not written or piece is not None:
        number += 1
        target = _page_path(first, number)
        if number > 1 and target.exists():
            raise GLSimError(f'{target} is there and no page of {first.name}: move it, or choose another name')
        written.append(replace_with(target, write))
    return written


def stream_page(template: str, pieces: Iterable[Piece], **content: Any) -> Iterator[bytes]:
    """A report as one page of any length, piece by piece, for :func:`write_pages` without a limit and without a file.

    Args:
        template: See :func:`write_pages`, as for ``pieces``.
        pieces: Taken one by one.
        **content: What the template shows.
    """
    start, end = _split(_renderer(template)(**content, page=1, name='', start='', previous='', following=''))
    yield start
    left: dict[Any, Any] = {}
    for piece in pieces:
        yield piece(left).encode('utf-8', 'backslashreplace')
    yield end


def render_piece(template: str, **content: Any) -> str:
    """Fill a template of ``templates/``; every text is escaped, so nothing in names and paths runs."""
    return _environment().get_template(template).render(**content)


def data_url(picture: np.ndarray, quality: int = 90) -> str:
    """A URL that holds a picture, (H, W, 3) uint8 RGB, as JPEG: ``data:image/jpeg;base64,...``."""
    # Without subsampling of colours, which blurs coloured frames and text, where quality counts.
    return _url(picture, 'JPEG', quality=quality, subsampling=0 if quality >= 90 else 2)


def small_url(picture: np.ndarray) -> str:
    """A URL that holds a picture of few pixels, (H, W, 3) uint8 RGB or (H, W, 2) grey and opacity, as PNG."""
    return _url(picture, 'PNG')


def _url(picture: np.ndarray, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return f'data:image/{kind.lower()};base64,' + base64.b64encode(buffer.getvalue()).decode('ascii')


def _split(page: str) -> list[bytes]:
    return [part.encode('utf-8', 'backslashreplace') for part in page.split(_PIECES)]


def _renderer(template: str) -> Callable[..., str]:
    date = datetime.date.today().isoformat()
    found = _environment().get_template(template)
    return lambda **content: found.render(date=content['settings'].date or date, pieces=_PIECES, **content)


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader  # here, for few need it

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters['percent'] = percent
    environment.filters['pretty'] = pretty_name
    return environment


def _page_path(first: Path, number: int) -> Path:
    return first if number <= 1 else first.with_name(f'{first.stem}-{number}{first.suffix}')


def _is_page(path: Path, first: Path) -> bool:
    """Whether a file is a further page of a report of that name."""
    if not path.is_file():
        return False
    with path.open('rb') as file:
        return f' of {html.escape(first.name)}">'.encode('utf-8', 'backslashreplace') in file.read(_HEAD_BYTES)
