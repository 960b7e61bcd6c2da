"""What MLflow, its transport and its database say when they fail, for people: on one line, without passwords."""

import re

from mlflow.exceptions import MlflowException

_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
_PASSWORD = re.compile(r"//[^/@\s]*@")
_OF_SQLALCHEMY = re.compile(r"\(Background on this error|\[SQL:")  # the statement, its values, a link


def is_away(error: Exception) -> bool:
    """Whether a server did not answer, or not with sense. The transport's own errors have no number of the system."""
    if isinstance(error, MlflowException):
        return error.error_code in _AWAY
    return isinstance(error, OSError) and error.errno is None


def told(error: Exception) -> str:
    """What MLflow and its transport say, on one line: they quote URIs as they were given."""
    said = error.message if isinstance(error, MlflowException) else str(error)
    return without_password(" ".join(_OF_SQLALCHEMY.split(said)[0].split()))


def without_password(text: str) -> str:
    return _PASSWORD.sub("//***@", text)
