"""What can go wrong, and who has to do something about it.

    TaxiwayError
    ├── ConfigError              the operator: a config file or its environment can't be used
    ├── PackageError             the model's author: a registered version can't be used as a model package
    ├── RegistryError            the operator: the registry does not answer, or does not hold what was asked
    │   └── RegistryAway         it does not answer; the same again may succeed later
    ├── JobError                 the operator: a scoring or retraining job can't go on
    │   ├── TooManyRejects       more rows were set aside than the settings allow
    │   ├── OutputHeld           another job writes to the same output
    │   └── TryLater             a storage or a cluster is away; the same command goes on later
    ├── RequestError             the caller, by changing the request                      400
    │   ├── MalformedRequest     the body is not a request of this protocol
    │   ├── InvalidInput         an input has a wrong name, datatype, shape or value
    │   ├── NotFound             no such path, model or version                           404
    │   ├── MethodNotAllowed     the path exists, with another method                     405
    │   ├── PayloadTooLarge      more bytes or rows than the server takes                 413
    │   └── RequestTimeout       the request did not arrive in time                       408
    ├── Unavailable              the caller, by trying again later                        503
    │   ├── Draining             this replica is going away
    │   ├── Overloaded           the queue is full
    │   ├── FeatureStoreFailed   the online store did not answer
    │   └── VariantUnavailable   the replicas of a dedicated variant don't answer
    ├── DeadlineExceeded         the caller's time is over; the work was dropped              504
    └── ModelFailed              the model's author: predict raised                       500

Constructor arguments always equal `args`, so every error survives the pickling between processes.
"""

from typing import ClassVar


class TaxiwayError(Exception):
    """Root of everything raised on purpose. `str(error)` is safe to show to a client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)


class ConfigError(TaxiwayError):
    """Raise when a config file, a path in it or the environment can't be used; name the key."""

    code = "config"


class PackageError(TaxiwayError):
    """Raise when a registered model version can't be used as a model package."""

    code = "package"


class RegistryError(TaxiwayError):
    """Raise when the model registry does not answer or does not hold what was asked for."""

    code = "registry"


class RegistryAway(RegistryError):
    """Raise when the registry does not answer at all: nothing is known about what was asked."""

    code = "registry_away"


class JobError(TaxiwayError):
    """Raise when a job can't go on; what it has finished stays."""

    code = "job"


class TooManyRejects(JobError):
    """Raise when more rows were set aside than the settings allow; say where they are."""

    code = "too_many_rejects"


class OutputHeld(JobError):
    """Raise when another job writes to the same output; say who."""

    code = "output_held"


class TryLater(JobError):
    """Raise when a storage or a cluster does not answer: the same command goes on later."""

    code = "try_later"


class RequestError(TaxiwayError):
    """Root of what the caller mends by sending another request."""

    status = 400
    code = "bad_request"


class MalformedRequest(RequestError):
    """Raise when the body can't be read as a request of its protocol."""

    code = "malformed_request"


class InvalidInput(RequestError):
    """Raise when one input has a wrong name, datatype, shape or value.

    Args:
        code: what is wrong, from the closed list in `taxiway.signature.RejectCode`.
        field: the input's name.
        reason: what was found and what was expected.
    """

    def __init__(self, code: str, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.args = (code, field, reason)
        self.reject_code = code
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class NotFound(RequestError):
    """Raise when the path, the model or the version does not exist."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RequestError):
    """Raise when the path exists but not with this method."""

    status = 405
    code = "method_not_allowed"


class PayloadTooLarge(RequestError):
    """Raise when a request has more bytes or rows than the server takes."""

    status = 413
    code = "payload_too_large"


class RequestTimeout(RequestError):
    """Raise when a request's bytes don't arrive in time."""

    status = 408
    code = "request_timeout"


class Unavailable(TaxiwayError):
    """Root of what passes by itself; the caller tries again."""

    status = 503
    code = "unavailable"


class Draining(Unavailable):
    """Raise when a request reaches a replica that is going away."""

    code = "draining"


class Overloaded(Unavailable):
    """Raise when the queue is full: refusing now is better than answering too late."""

    code = "overloaded"


class FeatureStoreFailed(Unavailable):
    """Raise when the online store does not answer."""

    code = "feature_store"


class VariantUnavailable(Unavailable):
    """Raise when the replicas of a dedicated variant don't answer; the rows are not to blame."""

    code = "variant_unavailable"


class DeadlineExceeded(TaxiwayError):
    """Raise when a request's budget of time is spent; what was not begun is not executed."""

    status = 504
    code = "deadline_exceeded"


class ModelFailed(TaxiwayError):
    """Raise when the model's own predict raises; the traceback goes to the log, not to the client."""

    code = "model_failed"
