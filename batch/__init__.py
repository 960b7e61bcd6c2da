"""Large scoring jobs on Ray Data."""
