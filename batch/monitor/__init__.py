"""Offline monitoring: a window of the prediction log against the reference, and quality over time."""
