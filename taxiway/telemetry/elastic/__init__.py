"""Ships the prediction log to Elasticsearch; `python -m taxiway.telemetry.elastic`."""
