"""Text for a terminal, whose columns are not characters: East Asian ones take two."""

import unicodedata

TERMINAL_WIDTH = 80


def text_width(text: str) -> int:
    """Columns of a terminal that text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)


def one_line(text: object) -> str:
    """Text without characters that would move the cursor or colour the terminal."""
    return ''.join(character if character.isprintable() else ' ' for character in str(text))


def shorten(text: str, width: int, start: float = 0.5) -> str:
    """Text on one line of ``width`` columns; an ellipsis stands for what is cut out.

    ``start`` is the share of the room for the beginning of the text, 0 to 1; the rest is for its end.
    """
    text = one_line(text)
    if text_width(text) <= width:
        return text
    head = ''
    while text_width(head) < int((width - 1) * start):
        head += text[len(head)]
    tail = text[len(head) :]
    while tail and text_width(head) + text_width(tail) > width - 1:
        tail = tail[1:]
    return f'{head}…{tail}'
