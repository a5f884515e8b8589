"""What a page holds, read by an HTML parser that fails on a tag that is not closed where it should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "wbr", "line", "rect", "path", "circle", "use", "input"}


@dataclass
class Element:
    """One element with its attributes, its children, and the text in it and below."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def has(self, name: str) -> bool:
        """Whether it is of the class ``name``."""
        return name in (self.attributes.get("class") or "").split()

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """All elements in it with this tag and these attributes."""
        found = []
        for child in self.children:
            if tag in ("", child.tag) and all(child.attributes.get(key) == value for key, value in attributes.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        # Styles and scripts are no text of the elements that they stand in.
        for element in self.open if self.open[-1].tag not in ("style", "script") else self.open[-1:]:
            element.texts.append(data)


def read(text: str) -> Element:
    """The elements of a page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root
