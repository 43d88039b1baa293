"""Names of classes as people read them; what programs read keeps the names of the data."""

import re

# Numbers in front: 001.Black_footed_Albatross (CUB), n02085620-Chihuahua (ImageNet), 00042_Animalia (iNaturalist).
_NUMBER = re.compile(r'(?:\d+\.\s*|n\d{8}[-_ ]|0\d+[-_ ])(?=\S)')


def pretty_name(name: str) -> str:
    """A class name for people: ``001.Black_footed_Albatross`` is ``Black-footed Albatross``.

    Underscores are blanks. One before a small letter is a hyphen if a capital begins a later word, as such folders
    write compounds: ``One_spot_fish`` is ``One spot fish``. Names that have blanks already, and paths, keep their form.
    """
    if '/' in name:  # a path
        return name
    text = _NUMBER.sub('', name, count=1) if _NUMBER.match(name) else name
    if ' ' in text.strip():
        return text
    words = [word for word in text.split('_') if word]
    shown = words[:1]
    for place, word in enumerate(words[1:], start=1):
        is_compound = words[place - 1][:1].isupper() and word[:1].islower()
        has_capital = any(later[:1].isupper() for later in words[place + 1 :])
        shown += ['-' if is_compound and has_capital else ' ', word]
    return ''.join(shown) or name
