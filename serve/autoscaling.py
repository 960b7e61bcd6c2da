"""How many replicas a deployment needs."""

from typing import Any

from serve.settings import AutoscalingSettings


def autoscaling_config(settings: AutoscalingSettings) -> dict[str, Any]:
    """Ray Serve's `autoscaling_config`."""
    return {
        "min_replicas": settings.min_replicas,
        "max_replicas": settings.max_replicas,
        "initial_replicas": max(settings.min_replicas, 1),
        "target_ongoing_requests": settings.target_ongoing_requests,
        "upscale_delay_s": settings.upscale_delay_s,
        "downscale_delay_s": settings.downscale_delay_s,
    }
