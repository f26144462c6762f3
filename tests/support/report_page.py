"""A parser of the page of a report."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """The page as lists: elements with their attributes and place, the cells of tables, text of the raw elements."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str], int]] = []
        self.tables: list[list[list[str]]] = []
        self.in_tables: list[list[list[str]]] = []
        self.raw: dict[str, list[str]] = {"style": [], "script": []}
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, len([t for t in self.open if t == "svg"])))
        if tag == "table":
            self.tables.append([])
            self.in_tables.append(self.tables[-1])
        if tag == "tr":
            self.in_tables[-1].append([])
        if tag in ("td", "th"):
            self.in_tables[-1][-1].append("")
        if tag in self.raw:
            self.raw[tag].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, self.open.count("svg")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.in_tables.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]][-1] += data
            return
        self.text.append(data)
        # White space between the rows of a folded table is in the cell of the outer one, but in none of its own.
        if self.in_tables and {"td", "th"} & set(self.open[len(self.open) - self.open[::-1].index("table") :]):
            self.in_tables[-1][-1][-1] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            a for t, a, _ in self.elements if t == tag and all(w in a.get(k, "").split() for k, w in wanted.items())
        ]

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())
