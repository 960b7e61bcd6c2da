"""Drift: whether the rows that are answered now still look like those of the reference window.

Pure functions: `counts` are what a window held, `distances` how far two of them lie apart, `significance` whether
chance explains it, `judgement` what is said of a window, `calibration` how far is usual, `progress` when an alarm is
raised and cleared.
"""
