"""Python's cyclic garbage collector and what a replica keeps for good."""

import gc
import threading

_OLD_VERSION_GONE_S = 5.0
YOUNG = 20_000
"""New objects that are alive when the collector looks for cycles among them. Of the 700 of Python's own a request on
its way has forty: it would look at every batch, and find nothing."""


def settle() -> None:
    """Takes all that is loaded out of the collector's sight, and requests on their way.

    Libraries and models are a million objects: a full collection that visits them stops every request for 0.3 s,
    and at thousands of requests a second there is one each second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def settle_later() -> None:
    """When the version that was replaced has answered what it was asked."""
    timer = threading.Timer(_OLD_VERSION_GONE_S, settle)
    timer.daemon = True
    timer.start()
