"""What the process ends with, for schedulers: whether to go on, to repair, or to run the same command again."""

from taxiway.errors import ConfigError, OutputHeld, RegistryAway, TaxiwayError, TooManyRejects, TryLater

DONE = 0
FAILED = 1
NOT_USABLE = 2
TOO_MANY_REJECTS = 3
OUTPUT_HELD = 4
TRY_LATER = 75
INTERRUPTED = 130

_BY_ERROR: tuple[tuple[type[TaxiwayError], int], ...] = (
    (ConfigError, NOT_USABLE),
    (TooManyRejects, TOO_MANY_REJECTS),
    (OutputHeld, OUTPUT_HELD),
    (RegistryAway, TRY_LATER),
    (TryLater, TRY_LATER),
)


def exit_status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), FAILED)
