"""Python's cyclic garbage collector and what a replica keeps for good."""

import gc
import threading

_OLD_VERSION_GONE_S = 5.0


def settle() -> None:
    """Takes all that is loaded out of the collector's sight.

    Libraries and models are a million objects: a full collection that visits them stops every request for 0.3 s,
    and at thousands of requests a second there is one each second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def settle_later() -> None:
    """When the version that was replaced has answered what it was asked."""
    timer = threading.Timer(_OLD_VERSION_GONE_S, settle)
    timer.daemon = True
    timer.start()
