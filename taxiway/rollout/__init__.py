"""Is the challenger worse, better, or not yet known? Statistics that may be looked at after every request."""
