"""Feast's header for MLflow is sent when Feast has set it, although MLflow was kept from importing Feast."""

from mlflow.tracking.request_header.registry import resolve_request_headers

from taxiway.mlflow_headers import FeastHeaders


def test_a_token_that_feast_sets_is_sent_all_the_same() -> None:
    from feast.infra.data_sources.mlflow.auth import mlflow_token_scope

    provider = FeastHeaders()
    assert not provider.in_context()
    with mlflow_token_scope("abc"):
        assert provider.in_context()
        assert provider.request_headers() == {"Authorization": "Bearer abc"}
        assert resolve_request_headers()["Authorization"] == "Bearer abc"
    assert "Authorization" not in resolve_request_headers()
