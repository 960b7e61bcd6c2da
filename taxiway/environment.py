"""What a model was made with: the interpreter, the platform, every installed distribution, the container image."""

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions

from taxiway.settings import Settings

IMAGE_VARIABLE = "TAXIWAY_IMAGE"
"""The environment variable that names the container image, such as `registry/name@sha256:...`."""
_SEPARATORS = re.compile(r"[-_.]+")


class Environment(Settings):
    """What a process runs in.

    Attributes:
        platform: system, release, machine and C library.
        distributions: `name==version`, sorted; names as PyPI normalizes them (PEP 503).
        image: the container image; null where nobody has said it.
    """

    python: str
    platform: str
    distributions: tuple[str, ...]
    image: str | None = None

    @property
    def text(self) -> str:
        """The distributions, one a line: what `pip install -r` takes."""
        return "".join(f"{line}\n" for line in self.distributions)

    @property
    def digest(self) -> str:
        """SHA-256 of `text`."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def summary(self) -> dict[str, str]:
        """Fact -> value, for lineage and model card; the distributions are counted and stand as their digest."""
        told = {
            "python": self.python,
            "platform": self.platform,
            "distributions": str(len(self.distributions)),
            "digest": self.digest,
        }
        return told | ({"image": self.image} if self.image else {})


def environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """That of this process."""
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        distributions=pinned((it.name, it.version) for it in distributions()),
        image=variables.get(IMAGE_VARIABLE, "").strip() or None,
    )


def pinned(found: Iterable[tuple[str | None, str | None]]) -> tuple[str, ...]:
    """`name==version` for each distribution, sorted.

    Args:
        found: name and version, in the order of `sys.path`: of two with the same name Python imports the first.
            One whose metadata are damaged has no name or no version, and is left out.
    """
    versions: dict[str, str] = {}
    for name, version in found:
        if name and version:
            versions.setdefault(_SEPARATORS.sub("-", name).lower(), version)
    return tuple(f"{name}=={version}" for name, version in sorted(versions.items()))
