"""The tags of a page as a browser sees them."""

from collections.abc import Iterator
from html.parser import HTMLParser


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def find_tags(page: str) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Yield each tag with its attributes."""
    parser = _Tags()
    parser.feed(page)
    yield from parser.found
