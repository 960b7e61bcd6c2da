"""What a browser finds in a page of ours."""

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Elements, attributes and words of a page, and that every element is closed."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def sources(self) -> list[str]:
        """What the page loads or links to."""
        return [*self.attributes.get("src", []), *self.attributes.get("href", [])]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
