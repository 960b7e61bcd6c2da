"""Packages of our own, of every flavor: what was logged is what is loaded, and it answers by its signature."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression

from taxiway.flavors.answers import named
from taxiway.package import ModelPackage, empty_columns, load_package, log_package
from taxiway.signature import Array, Column, Signature
from tests.plain_models import Several, use_registry


@pytest.fixture(scope="module")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    use_registry(tmp_path_factory.mktemp("own"))


def downloaded(uri: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(uri))


@pytest.mark.usefixtures("_registry")
def test_a_module_with_several_inputs_and_outputs_is_a_package_of_ours() -> None:
    torch = pytest.importorskip("torch")

    class Both(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, image: Any, scale: Any) -> Any:
            scaled = image.float() * scale[:, None, None]
            return {"scaled": scaled, "total": scaled.sum(dim=(1, 2))}

    signature = Signature(
        inputs=(Column(name="image", dtype="uint8", shape=(2, 2)), Column(name="scale", dtype="float32")),
        outputs=(Column(name="total", dtype="float32"), Column(name="scaled", dtype="float32", shape=(2, 2))),
    )
    package = ModelPackage(flavor="torch", signature=signature, output_kind="tensor")
    with mlflow.start_run():
        uri = log_package(Both(), package, {"torch": torch.__version__})
    loaded, predictor = load_package(downloaded(uri))
    assert loaded == package
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    outputs = predictor.predict({"image": images, "scale": np.array([1.0, 0.5], np.float32)})
    assert list(outputs) == ["total", "scaled"]
    assert outputs["total"].tolist() == [6.0, 11.0]
    np.testing.assert_array_equal(outputs["scaled"][0], images[0])


def _own(flavor: Any, dtype: Any = "float64", kind: Any = "probability", **options: Any) -> ModelPackage:
    inputs = tuple(Column(name=name, dtype="float64", nullable=True) for name in ("a", "b"))
    outputs = (Column(name="p", dtype=dtype),)
    return ModelPackage(flavor=flavor, signature=Signature(inputs=inputs, outputs=outputs), output_kind=kind, **options)


def _data() -> tuple[pd.DataFrame, Array]:
    random = np.random.default_rng(3)
    table = pd.DataFrame({"a": random.normal(size=300), "b": random.normal(size=300)})
    return table, np.asarray(table["a"] + table["b"] > 0).astype(int)


@pytest.mark.parametrize("flavor", ["sklearn", "xgboost", "lightgbm"])
@pytest.mark.usefixtures("_registry")
def test_a_package_of_ours_answers_the_probability_of_the_positive_class(flavor: str) -> None:
    table, target = _data()
    if flavor == "sklearn":
        model: Any = LogisticRegression()
    elif flavor == "xgboost":
        model = pytest.importorskip("xgboost").XGBClassifier(n_estimators=5)
    else:
        model = pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=5, verbose=-1)
    model.fit(table, target)
    package = _own(flavor, "float32" if flavor == "xgboost" else "float64")
    with mlflow.start_run():
        uri = log_package(model, package, {"scikit-learn": sklearn.__version__})
    loaded, predictor = load_package(downloaded(uri))
    assert loaded == package
    found = predictor.predict({name: table[name].to_numpy() for name in table})["p"]
    np.testing.assert_array_equal(found, model.predict_proba(table)[:, 1])


@pytest.mark.usefixtures("_registry")
def test_a_python_model_is_a_package_of_ours() -> None:
    package = ModelPackage(
        flavor="pyfunc",
        signature=Signature(
            inputs=(Column(name="size", dtype="float64"),),
            outputs=(Column(name="name", dtype="string"), Column(name="double", dtype="float64")),
        ),
        output_kind="tensor",
    )
    with mlflow.start_run():
        uri = log_package(Several("dict"), package, {})
    loaded, predictor = load_package(downloaded(uri))
    assert loaded == package
    outputs = predictor.predict({"size": np.array([1.5])})
    assert list(outputs) == ["name", "double"]
    assert outputs["double"].tolist() == [3.0]


def test_an_answer_that_does_not_hold_what_the_signature_says_is_an_error() -> None:
    outputs = (Column(name="n", dtype="int64"),)
    assert named(np.array([1, 2], np.int32), outputs)["n"].dtype == np.int64
    with pytest.raises(ValueError, match="n: the signature says int64, the model answered float64"):
        named(np.array([1.5]), outputs)
    with pytest.raises(ValueError, match=r"expected values of shape \[\], got \[2\]"):
        named(np.array([[1, 2]]), outputs)
    with pytest.raises(ValueError, match="it answered 2 others"):
        named((np.array([[1]]), np.array([1])), outputs)


def test_empty_columns_have_every_type_and_shape() -> None:
    columns = (
        Column(name="image", dtype="uint8", shape=(-1, 3)),
        Column(name="blob", dtype="bytes"),
        Column(name="color", dtype="string", categories=("red", "blue")),
        Column(name="maybe", dtype="int32", nullable=True),
    )
    package = ModelPackage(signature=Signature(inputs=columns, outputs=(Column(name="p", dtype="float64"),)))
    empty = empty_columns(package, 2)
    assert empty["image"].shape == (2, 1, 3)
    assert empty["blob"].tolist() == [b"", b""]
    assert empty["color"].tolist() == ["red", "red"]
    assert empty["maybe"].dtype == np.float64
    assert package.signature.rejects(empty) == []
