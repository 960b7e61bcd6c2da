"""The library that serving, batch and retraining share."""

__version__ = "0.1.0"
