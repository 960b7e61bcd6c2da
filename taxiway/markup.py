"""Pages without a script and without anything from elsewhere: elements, tables, pictures, the whole document."""

import base64
import io
from collections.abc import Sequence, Set
from importlib.resources import files
from xml.etree.ElementTree import Element, tostring

from matplotlib.figure import Figure

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
Child = Element | str | None


def element(tag: str, *children: Child, **attributes: str | None) -> Element:
    """`<tag attribute="value">children</tag>`; `class_` is `class`, other underscores are hyphens, None is nothing.

    ElementTree escapes every text and attribute when it writes them.
    """
    told = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    made = Element(tag, told)
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child and len(made):
            made[-1].tail = (made[-1].tail or "") + child
        elif child:
            made.text = (made.text or "") + child
    return made


def section(title: str, *children: Child) -> Element:
    return element("section", element("h2", title), *children)


def table(head: Sequence[str], rows: Sequence[Sequence[Child]], numbers: Set[int] = frozenset()) -> Element:
    """A table whose first column names the row; `numbers` are the columns to be set flush right."""

    def cell(tag: str, place: int, content: Child, scope: str) -> Element:
        named = {"scope": scope} if tag == "th" else {}
        return element(tag, content, class_="number" if place in numbers else None, **named)

    titles = [cell("th", place, title, "col") for place, title in enumerate(head)]
    body = [
        element("tr", *[cell("td" if place else "th", place, it, "row") for place, it in enumerate(row)])
        for row in rows
    ]
    made = element("table", element("thead", element("tr", *titles)), element("tbody", *body))
    return element("div", made, class_="scroll")


def picture(title: str, figure: Figure) -> Element:
    """A plot as a PNG inside the page."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white", metadata={"Software": None})
    source = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
    return element("figure", element("figcaption", title), element("img", src=source, alt=title))


def document(title: str, *children: Child) -> str:
    """A whole HTML document. Characters that no file can hold, such as half a surrogate pair, become their codes."""
    style = files("taxiway").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", style),
    )
    body = element("body", element("main", *children))
    text = tostring(element("html", head, body, lang="en"), encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n".encode("utf-8", "backslashreplace").decode()
