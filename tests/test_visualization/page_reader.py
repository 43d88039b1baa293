"""What a page of HTML holds."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Elements with their attributes, in order, and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ''
        self.feed(html)

    @classmethod
    def read(cls, path: Path) -> 'Page':
        return cls(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def of_class(self, name: str) -> list[dict]:
        return [attributes for _, attributes in self.tags if name in (attributes.get('class') or '').split()]

    @property
    def links(self) -> dict[str, str]:
        """Addresses of the neighbouring pages."""
        return {link['rel']: link['href'] for link in self.all('a') if 'rel' in link}
