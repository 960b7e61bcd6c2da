import time
import uuid

from serve.prediction_id import new_prediction_id, prediction_id


def test_an_id_is_a_uuid_of_version_7_with_the_moment_in_front() -> None:
    identifier = uuid.UUID(prediction_id(0x017F22E279B0, (1 << 80) - 1))
    assert (identifier.version, identifier.variant) == (7, uuid.RFC_4122)
    assert identifier.int >> 80 == 0x017F22E279B0


def test_the_example_of_the_rfc() -> None:
    random_bits = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    assert prediction_id(0x017F22E279B0, random_bits) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_ids_are_unique_and_sort_by_time() -> None:
    early = [new_prediction_id() for _ in range(1000)]
    time.sleep(0.002)
    late = new_prediction_id()
    assert len(set(early)) == 1000
    assert max(early) < late
