"""Who listens to a job's events: the live display, the report, MLflow, Prometheus."""
