"""Libraries that only some models need."""

import importlib
from typing import Any

from taxiway.errors import PackageError


def library(name: str) -> Any:
    """An optional library.

    Raises:
        PackageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PackageError(
            f"this model needs {name}, which can't be imported: {error}; pip install 'taxiway[{name}]'"
        ) from error
