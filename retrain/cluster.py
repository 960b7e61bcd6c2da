"""The Ray cluster of a retraining: the one that runs the job, or a small one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from taxiway.errors import ConfigError


@contextmanager
def connected() -> Iterator[None]:
    """Connects to the cluster of a Ray job (`RAY_ADDRESS`), else starts one here and stops it afterwards.

    Raises:
        ConfigError: `RAY_ADDRESS` names a cluster that does not answer, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else {"include_dashboard": False}),
        )
    except (ConnectionError, RuntimeError) as error:
        wanted = f"RAY_ADDRESS: no Ray cluster answers at {address}" if address else "Ray can't be started here"
        raise ConfigError(f"{wanted}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()
