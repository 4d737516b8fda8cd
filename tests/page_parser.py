"""A reader of HTML pages for tests: what is in a page, and whether it is whole."""

import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page taken apart: its elements in order, their attributes, their text, and what was never closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.pieces: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        return " ".join("".join(data for _, data in self.pieces).split())

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def rows_of(html: str) -> list[str]:
    """The text of each row of the first table of arms."""
    table = html[html.index('<table class="arms">') :]
    body = re.search(r"<tbody>(.*?)</tbody>", table, re.DOTALL)
    assert body
    return [Page(row).text for row in re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)]


def check_whole(html: str) -> Page:
    """What every page must be: closed elements, one id once, nothing from elsewhere, no missing value in the open."""
    page = Page(html)
    assert not page.wrong
    assert not page.open
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href", "action", "srcset", "poster"):
            assert attributes.get(name, "#")[:1] == "#"
            assert attributes.get(name, "#")[1:] in {"", *ids}
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    shown = page.text + " ".join(value for _, attributes in page.tags for value in attributes.values())
    assert not re.search(r"\b(None|nan|NaN|inf|undefined)\b", shown)
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    return page
