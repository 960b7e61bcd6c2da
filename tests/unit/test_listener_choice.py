import pytest

from serve.settings import ListenerSettings, ServeSettings
from taxiway.errors import ConfigError
from taxiway.settings import parse

ENDPOINT = {"name": "parcel", "model": "models:/parcel@champion"}


def settings(listener: object, **rest: object) -> ServeSettings:
    return parse({"endpoints": [ENDPOINT], "listener": listener, **rest}, ServeSettings, "serve.yaml")


def test_the_listener_is_one_of_ours_or_serves() -> None:
    assert settings("serve").listener == "serve"
    assert settings({"port": 8001}).listener == ListenerSettings(port=8001)
    assert isinstance(ServeSettings.model_validate({"endpoints": [ENDPOINT]}).listener, ListenerSettings)


@pytest.mark.parametrize(
    ("listener", "complaint"),
    [
        ("serv", "key 'listener': expected serve, or the keys of a listener of our own, found 'serv'"),
        (8000, "key 'listener': expected serve, or the keys of a listener of our own, found 8000"),
        ({"prot": 1}, "unknown key 'listener.prot'; known here: connection_age_s, connections"),
        ({"port": 0}, "key 'listener.port': input should be greater than or equal to 1"),
    ],
)
def test_another_listener_is_refused_in_one_sentence(listener: object, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(listener)
    assert str(caught.value).removeprefix("serve.yaml: ").startswith(complaint)
    assert ";" not in str(caught.value).replace("; known here", "")


def test_a_leaving_replica_has_time_for_its_clients_to_leave_and_for_its_longest_request() -> None:
    assert settings({"drain_s": 3.0}, limits={"timeout_s": 7.0}).drain_s == 10.0
    assert settings("serve", limits={"timeout_s": 7.0}).drain_s == 7.0
    longer = settings("serve", endpoints=[ENDPOINT | {"timeout_s": 60.0}], limits={"timeout_s": 7.0})
    assert longer.drain_s == 60.0
