"""Retraining on Ray Tune, fed by Feast."""
