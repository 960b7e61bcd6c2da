"""An error where no codec has been chosen: in the form of the protocol that the path belongs to."""

from collections.abc import Callable

from taxiway.errors import TaxiwayError
from taxiway.protocols import mlflow_scoring, open_inference, tf_serving, torchserve

_FORMS: tuple[tuple[str, Callable[[TaxiwayError], bytes]], ...] = (
    ("/v1", tf_serving.encode_error),
    ("/predictions", torchserve.encode_error),
    ("/invocations", mlflow_scoring.encode_error),
    ("/models", mlflow_scoring.encode_error),
    ("/endpoints", mlflow_scoring.encode_error),
)


def encode_error(path: str, error: TaxiwayError) -> bytes:
    """The body that clients of this path expect; of a path of no protocol the Open Inference Protocol's."""
    encode = next((encode for prefix, encode in _FORMS if path.startswith(prefix)), open_inference.encode_error)
    return encode(error)
