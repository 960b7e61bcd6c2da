"""How numbers, times and places are shown to people; passwords never are."""

import re

_PASSWORD = re.compile(r"//[^/\s]*@")
_QUERY = re.compile(r"(://[^\s?\"']*)\?[^\s\"']*")


def without_secrets(text: str) -> str:
    """A URI, or a sentence with URIs in it, without user, password and query; characters that no file can hold too."""
    told = _QUERY.sub(r"\1", _PASSWORD.sub("//***@", text))
    return told.encode("utf-8", "backslashreplace").decode()


def duration(seconds: float) -> str:
    """`4.2 s`, `3:07 min` or `1:02:03 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"


def size(count: int) -> str:
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def compact(number: float, digits: int = 4) -> str:
    """For an axis: `250k`, `1.2M`, `0.05`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if limit <= abs(number) < 1e12:
            return f"{number / limit:.{digits}g}{unit}"
    return f"{number:.{digits}g}"


def share(part: float, whole: float) -> str:
    """A percentage that is 0% or 100% only when that is exactly so."""
    if not whole:
        return "0%"
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return "<0.01%"
    if 99.99 < percent < 100:
        return ">99.99%"
    return f"{percent:.3g}%"
