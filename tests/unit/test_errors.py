import inspect
import pickle

import pytest

from taxiway import errors
from taxiway.errors import InvalidInput, TaxiwayError

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, TaxiwayError) and value is not InvalidInput
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling(kind: type[TaxiwayError]) -> None:
    error = kind("what happened")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.status, copy.code) == (kind, "what happened", kind.status, kind.code)


def test_an_invalid_input_survives_pickling_with_its_field() -> None:
    copy = pickle.loads(pickle.dumps(InvalidInput("wrong_type", "size", "got text")))
    assert (copy.reject_code, copy.field, str(copy)) == ("wrong_type", "size", "size: got text")


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    missing = [kind.__name__ for kind in CLASSES if kind.__name__ not in errors.__doc__]
    assert missing == []
