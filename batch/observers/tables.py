"""Tables of a page; the numbers in them are readable without the bars beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from batch.observers.html import Html, element


@dataclass(frozen=True)
class Cell:
    """A text of a column."""

    text: str
    is_number: bool = False

    @classmethod
    def of(cls, count: int) -> "Cell":
        return cls(f"{count:,}", is_number=True)


def facts(rows: Sequence[tuple[str, str]]) -> Html:
    """Names and values."""
    body = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows]
    return element("table", element("tbody", *body), class_="facts")


def numbers(header: Sequence[str], rows: Sequence[tuple[str, *tuple[Cell, ...]]]) -> Html:
    """A name and cells in each row."""
    body = [element("tr", element("th", name, scope="row"), *map(_cell, cells)) for name, *cells in rows]
    is_number = [False, *[cell.is_number for cell in rows[0][1:]]] if rows else [False] * len(header)
    return _table([_head(title, number) for title, number in zip(header, is_number, strict=True)], body)


def bars(header: tuple[str, str], counts: Sequence[tuple[str, float]], digits: int = 0) -> Html:
    """A name, its number, and a bar as long as the number is large beside the largest."""
    largest = max((count for _, count in counts), default=0) or 1
    body = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", f"{count:,.{digits}f}", class_="number"),
            element("td", element("span", style=f"width:{100 * count / largest:.2f}%"), class_="share"),
        )
        for name, count in counts
    ]
    return _table([_head(header[0], False), _head(header[1], True), element("td", class_="share")], body)


def _table(header: Sequence[Html], body: Sequence[Html]) -> Html:
    table = element("table", element("thead", element("tr", *header)), element("tbody", *body))
    return element("div", table, class_="scroll")


def _head(title: str, is_number: bool) -> Html:
    return element("th", title, scope="col", class_="number" if is_number else "")


def _cell(cell: Cell) -> Html:
    return element("td", cell.text, class_="number" if cell.is_number else "")
