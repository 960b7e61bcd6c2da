"""Online inference on Ray Serve."""
