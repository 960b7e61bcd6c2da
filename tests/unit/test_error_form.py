import orjson
import pytest

from taxiway.errors import NotFound
from taxiway.protocols.error_form import encode_error


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v2/models/parcel/infer", ["error"]),
        ("/v1/models/parcel:predict", ["error"]),
        ("/invocations", ["error_code", "message"]),
        ("/models/parcel/invocations", ["error_code", "message"]),
        ("/endpoints/parcel/invocations", ["error_code", "message"]),
        ("/predictions/parcel/3", ["code", "type", "message"]),
        ("/elsewhere", ["error"]),
        ("", ["error"]),
    ],
)
def test_an_error_has_the_form_of_the_path_s_protocol(path: str, keys: list[str]) -> None:
    assert list(orjson.loads(encode_error(path, NotFound("no such model")))) == keys
