"""What cameras write into photos: when and where they were taken, and by which camera."""

import io
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from .decoding import PILLOW_ERRORS, open_photo, read_exif_data
from .photos import ImageItem, read_content, to_text

EXIF_COLUMNS = ('taken', 'camera', 'latitude', 'longitude')
"""What :func:`read_exif` finds, as columns of a gallery."""

# Tags, see Exif 2.32 (CIPA DC-008): https://www.cipa.jp/std/documents/e/DC-X008-Translation-2019-E.pdf
_MAKE, _MODEL = 0x010F, 0x0110
_EXIF_BLOCK, _GPS_BLOCK = 0x8769, 0x8825
_DATES = (0x9003, 0x9004)  # DateTimeOriginal, DateTimeDigitized; DateTime is when the file was changed
_PLACES = {'latitude': (1, 2, 'NS', 90), 'longitude': (3, 4, 'EW', 180)}  # tags, hemispheres, largest number
_DATE = re.compile(r'(\d{4})[:./-](\d\d)[:./-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?')
_FIRST_YEAR = 1826  # of the oldest photo that is left
_LONGEST_NAME = 200


@dataclass
class ExifValues:
    """What the EXIF data of a photo says.

    Attributes:
        values: By the names of :data:`EXIF_COLUMNS`, as far as known: ``taken`` is a ``datetime``, the local time that
            the camera showed, without time zone; ``camera`` maker and model; ``latitude`` and ``longitude`` degrees,
            positive in the north and east.
        wrong: Values that are not possible, in words.
    """

    values: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def read_exif(item: ImageItem) -> ExifValues:
    """What the EXIF data of a photo in a file or in bytes says; empty for one that has none or cannot be read.

    ::

        print(read_exif(ImageItem('wren.jpg')).values)  # {'taken': datetime(2024, 5, 1, 12, 30), ...}
    """
    found = ExifValues()
    try:
        with open_photo(_source(item)) as image:
            exif = read_exif_data(image)
            blocks = [dict(block) for block in (exif, exif.get_ifd(_EXIF_BLOCK), exif.get_ifd(_GPS_BLOCK))]
    except PILLOW_ERRORS:
        return found
    readers: tuple[tuple[str, Callable[..., dict[str, Any]], Mapping], ...] = (
        ('date', _read_date, blocks[1]),
        ('camera', _read_camera, blocks[0]),
        ('place', _read_place, blocks[2]),
    )
    for what, read, block in readers:
        try:
            found.values.update(read(block))
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            found.wrong.append(f'{what}: {error}')
    return found


def _source(item: ImageItem) -> str | Path | BinaryIO:
    if isinstance(item.content, bytes):
        return io.BytesIO(item.content)
    if item.content is None and os.path.exists(item.file):
        return item.file
    return io.BytesIO(read_content(item.file))  # an address, or a name that is no UTF-8


def _read_date(block: Mapping[int, Any]) -> dict[str, Any]:
    texts = [text for text in (_text(block.get(tag)) for tag in _DATES) if any(sign in '123456789' for sign in text)]
    for text in texts:
        parts = _DATE.match(text)
        numbers = [int(part or 0) for part in parts.groups()] if parts else [0]
        if numbers[0] >= _FIRST_YEAR:
            try:
                return {'taken': datetime(*numbers)}  # type: ignore[arg-type]
            except ValueError:  # a month 13
                continue
    if texts:
        raise ValueError(f'{texts[0]!r} is no date')
    return {}


def _read_camera(block: Mapping[int, Any]) -> dict[str, Any]:
    make, model = (_text(block.get(tag)) for tag in (_MAKE, _MODEL))
    first = make.split(' ')[0].lower()
    name = model if model.lower().startswith(first) else f'{make} {model}'.strip()
    return {'camera': name[:_LONGEST_NAME]} if name else {}


def _read_place(block: Mapping[int, Any]) -> dict[str, Any]:
    if not any(number in block for _, number, _, _ in _PLACES.values()):
        return {}
    return {name: _degrees(name, block, *tags) for name, tags in _PLACES.items()}


def _degrees(name: str, block: Mapping[int, Any], side: int, number: int, hemispheres: str, limit: float) -> float:
    """Degrees from degrees, minutes and seconds; ValueError if they are none of this earth."""
    given: Any = block.get(number)
    try:
        parts = [float(part) for part in (given if isinstance(given, Sequence) else [given])]
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name} {given!r} is no number') from error
    except ArithmeticError:  # a fraction of which the lower number is 0
        parts = [math.nan]
    value = sum(part / 60**place for place, part in enumerate(parts))
    if not 1 <= len(parts) <= 3 or not all(0 <= part <= 60 for part in parts[1:]) or not 0 <= value <= limit:
        raise ValueError(f'{name} {", ".join(f"{part:g}" for part in parts)} is not from 0 to {limit}')
    hemisphere = _text(block.get(side)).upper()[:1]
    if not hemisphere or hemisphere not in hemispheres:
        raise ValueError(f'{name} {value:g} has no hemisphere, {" or ".join(hemispheres)}')
    return round(-value if hemisphere in 'SW' else value, 7)


def _text(value: Any) -> str:
    """A text without the zeros and blanks around it; Pillow takes UTF-8 for Latin-1."""
    if isinstance(value, str):
        value = value.encode('latin-1', 'replace')
    if not isinstance(value, bytes):
        return ''
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode('latin-1')
    text = text.partition('\0')[0]
    return to_text(' '.join(''.join(sign if sign.isprintable() else ' ' for sign in text).split()))
