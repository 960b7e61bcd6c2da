"""How fresh a feature view is, as Feast's registry says it to a process that has not filled the store itself."""

from pathlib import Path

import pytest

from taxiway.features import freshness, materialize, open_store
from taxiway.settings import FeatureStoreSettings
from tests.integration.test_features import CONFIG, LAST, NOON, make

SQL = "{{registry_type: sql, path: 'sqlite:///{folder}/registry.sqlite', cache_ttl_seconds: 600}}"


@pytest.mark.parametrize("registry", ["{folder}/registry.db", SQL], ids=["file", "sql"])
def test_what_another_process_materializes_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    config = CONFIG.replace("{folder}/registry.db", registry)
    monkeypatch.setattr("tests.integration.test_features.CONFIG", config)
    theirs = make(tmp_path)
    # Each store has a registry's cache of its own, as each process has.
    ours = open_store(FeatureStoreSettings(repository=str(tmp_path)))
    assert [view.until for view in freshness(ours, ["sales"])] == [NOON]
    materialize(theirs, NOON, LAST)
    assert [view.until for view in freshness(ours, ["sales"])] == [LAST]
