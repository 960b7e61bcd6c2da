"""HTML that can't be broken by what it shows: whatever is not markup already is escaped."""

from html import escape


class Html(str):
    """Markup. Only `element`, `joined` and `declared` make it."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float) -> Html:
    """`<tag attribute="value">children</tag>`; `class_` is `class`, other underscores are hyphens."""
    told = "".join(f' {_name(key)}="{escape(str(value))}"' for key, value in attributes.items())
    return Html(f"<{tag}{told}>{joined(*children)}</{tag}>")


def joined(*children: str) -> Html:
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def declared(markup: str) -> Html:
    """Markup of our own, a literal or a file; never anything that comes from data."""
    return Html(markup)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
