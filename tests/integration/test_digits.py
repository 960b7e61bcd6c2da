"""The digits example but for Ray: learned, judged, registered and asked through binary tensors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from serve.__main__ import main
from serve.ingress import Ingress
from serve.settings import EndpointSettings, ListenerSettings, ServeSettings
from taxiway.registry import CHALLENGER, CHAMPION, Registry
from taxiway.settings import RegistrySettings
from tests.ports import free_port

torch = pytest.importorskip("torch")
data = pytest.importorskip("examples.digits.data")
network = pytest.importorskip("examples.digits.network")
train = pytest.importorskip("examples.digits.train")
learner = pytest.importorskip("retrain.learner")
trainer = pytest.importorskip("retrain.trainers.torch")

EPOCHS = 4


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    found: tuple[Any, Any] = data.split(data.read_digits(), 0)
    return found


@pytest.fixture(scope="module")
def module(parts: Any) -> Any:
    learned = learner.Learner(network.task(parts[0], EPOCHS, seed=0), torch.device("cpu"))
    with trainer.limited_threads(1):
        learned.learn(EPOCHS)
    return network.classifier(learned.network.state_dict())


@pytest.fixture(scope="module")
def judged(parts: Any, module: Any) -> Any:
    return network.judge(network.probabilities(module, parts[1].images), parts[1].digits)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, parts: Any, module: Any, judged: Any) -> Iterator[Registry]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAXIWAY_HOME", str(tmp_path_factory.mktemp("digits")))
        opened = Registry(RegistrySettings())
        published = [train.publish(opened, module, *parts, judged, {"epochs": EPOCHS}) for _ in range(2)]
        assert [alias for _, alias in published] == [CHAMPION, CHALLENGER]
        yield opened


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def ingress(registry: Registry, port: int) -> Iterator[Ingress]:
    ingress = Ingress(
        "tests",
        ServeSettings(
            endpoints=(EndpointSettings(name="digits", model="models:/digits@champion"),),
            listener=ListenerSettings(host="127.0.0.1", port=port, drain_s=2),
        ),
    )
    ingress.listen()
    yield ingress
    ingress.drain()


def test_the_images_are_those_of_scikit_learn(parts: Any) -> None:
    whole, source = data.read_digits(), load_digits()
    assert whole.images.shape == (1797, 1, 8, 8)
    np.testing.assert_array_equal(whole.images[:, 0] * 16, source.images)
    np.testing.assert_array_equal(whole.digits, source.target)
    assert [len(part) for part in parts] == [1437, 360]
    shares = [np.bincount(part.digits) / len(part) for part in parts]
    np.testing.assert_allclose(*shares, atol=0.002)


def test_the_digest_sees_every_pixel_and_every_digit() -> None:
    whole = data.read_digits()
    other, digits = whole.images.copy(), whole.digits.copy()
    other[700, 0, 3, 3] += 1 / 16
    digits[700] = (digits[700] + 1) % 10
    assert data.read_digits().digest == whole.digest
    assert (
        len({whole.digest, data.Labelled(other, whole.digits).digest, data.Labelled(whole.images, digits).digest}) == 3
    )


@pytest.mark.parametrize(("right", "rows"), [(0, 7), (7, 7), (345, 360), (359, 360), (180, 360)])
def test_the_interval_of_the_accuracy_is_scipys(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    assert network.accuracy_interval(right, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_answers_are_judged_by_what_they_are() -> None:
    answers = np.full((4, 10), 0.05, np.float32)
    answers[[0, 1, 2, 3], [3, 3, 7, 0]] = 0.55
    judged = network.judge(answers, np.array([3, 5, 7, 0]))
    assert judged.accuracy == 0.75
    assert judged.log_loss == pytest.approx(-(3 * np.log(0.55) + np.log(0.05)) / 4, rel=1e-6)
    assert {tuple(at): judged.confusion[tuple(at)] for at in np.argwhere(judged.confusion)} == {
        (0, 0): 1,
        (3, 3): 1,
        (5, 3): 1,
        (7, 7): 1,
    }
    assert network.confusion_table(judged.confusion).splitlines()[6].split() == ["5", *"...1......"]


def test_a_few_epochs_read_most_digits_that_were_held_out(judged: Any) -> None:
    assert judged.accuracy > 0.93
    assert judged.accuracy_low < judged.accuracy < judged.accuracy_high
    assert judged.log_loss < 0.3
    assert judged.confusion.sum() == judged.rows == 360


def test_the_version_says_what_it_comes_from(registry: Registry, parts: Any, judged: Any) -> None:
    loaded = registry.load(registry.resolve("models:/digits@champion"))
    assert loaded.package.signature == train.SIGNATURE
    lineage, profile = loaded.package.lineage, loaded.package.reference_profile
    assert lineage is not None
    assert profile is not None
    assert (lineage.data_digest, lineage.data_rows) == (parts[0].digest, 1437)
    assert lineage.metrics == judged.metrics
    assert lineage.parameters == {"epochs": EPOCHS}
    assert profile.inputs["image"].rows == 360


def test_binary_tensors_get_the_answers_of_the_module(ingress: Ingress, port: int, parts: Any, module: Any) -> None:
    images = parts[1].images[:50]
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        described = client.get_model_metadata("digits")
        assert [(it["name"], it["datatype"], it["shape"]) for it in described["inputs"]] == [
            ("image", "FP32", [-1, 1, 8, 8])
        ]
        assert [(it["name"], it["datatype"], it["shape"]) for it in described["outputs"]] == [
            ("probabilities", "FP32", [-1, 10])
        ]
        tensor = tritonclient.http.InferInput("image", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=True)
        wanted = tritonclient.http.InferRequestedOutput("probabilities", binary_data=True)
        answers = client.infer("digits", [tensor], outputs=[wanted]).as_numpy("probabilities")
        flat = tritonclient.http.InferInput("image", [50, 64], "FP32")
        flat.set_data_from_numpy(images.reshape(50, 64))
        with pytest.raises(tritonclient.http.InferenceServerException, match="image"):
            client.infer("digits", [flat])
    np.testing.assert_array_equal(answers, network.probabilities(module, images))
    assert (answers.argmax(axis=1) == parts[1].digits[:50]).mean() > 0.9


def test_the_file_to_serve_it_is_valid(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(Path("configs/digits/serve.yaml"))]) == 0
    assert "at http://127.0.0.1:8000/v2/models/digits" in capsys.readouterr().out
