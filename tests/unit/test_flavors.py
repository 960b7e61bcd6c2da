"""Models that somebody logged with plain MLflow answer as MLflow's pyfunc answers, bit by bit."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from taxiway.errors import PackageError
from taxiway.flavors import sklearn as sklearn_flavor
from taxiway.flavors.inputs import inputs_of
from taxiway.flavors.logged import flavor_of, read
from taxiway.package import ModelPackage, empty_columns, load_example, load_package
from taxiway.registry import Registry
from taxiway.scoring import Predictor, score
from taxiway.signature import Array, Column, take
from tests.plain_models import (
    EVERY_KIND,
    PlainModel,
    Several,
    expensive,
    houses,
    pyfunc_several,
    register,
    use_registry,
)
from tests.tiny_model import registry_settings


@dataclass(frozen=True)
class Pair:
    """A model as we load it and as MLflow does."""

    plain: PlainModel
    package: ModelPackage
    predictor: Predictor
    pyfunc: Any


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    use_registry(folder)
    return folder


class Pairs(dict[str, Pair]):
    """By kind. PyTorch is an extra: without it the kinds that need it are not there."""

    def __missing__(self, kind: str) -> Pair:
        pytest.skip(f"{kind} needs a library that is not installed")


@pytest.fixture(scope="module")
def pairs(registry: Path) -> dict[str, Pair]:
    found = Pairs()
    for kind, make in EVERY_KIND.items():
        with mlflow.start_run():
            plain = make()
        found[kind] = Pair(plain, *load_package(downloaded(plain.uri)), mlflow.pyfunc.load_model(plain.uri))
    return found


def downloaded(uri: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(uri))


def as_arrays(answer: Any) -> list[Array]:
    """MLflow's answer; a table without names is one matrix."""
    if isinstance(answer, pd.DataFrame) and isinstance(answer.columns[0], str):
        return [answer[name].to_numpy() for name in answer.columns]
    return [np.asarray(answer)]


SAME_BITS = [kind for kind in EVERY_KIND if not kind.startswith("torch")]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_answers_what_mlflow_answers(pairs: dict[str, Pair], kind: str) -> None:
    pair = pairs[kind]
    outputs = pair.predictor.predict(pair.plain.columns)
    assert list(outputs) == [column.name for column in pair.package.signature.outputs]
    for found, expected in zip(outputs.values(), as_arrays(pair.pyfunc.predict(pair.plain.rows)), strict=True):
        # One thread sums in another order than several: PyTorch's answers differ in the last bits.
        assert found.shape == expected.shape
        if kind in SAME_BITS:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SAME_BITS)
def test_one_row_alone_is_answered_as_mlflow_answers_it(pairs: dict[str, Pair], kind: str) -> None:
    pair = pairs[kind]
    for place in (0, 1, 2):
        row = slice(place, place + 1)
        outputs = pair.predictor.predict(take(pair.plain.columns, row))
        for found, expected in zip(outputs.values(), as_arrays(pair.pyfunc.predict(pair.plain.rows[row])), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_answers_have_the_type_and_shape_that_the_signature_says(pairs: dict[str, Pair], kind: str) -> None:
    pair = pairs[kind]
    outputs = pair.predictor.predict(pair.plain.columns)
    for column in pair.package.signature.outputs:
        assert outputs[column.name].dtype == column.numpy_dtype
        assert column.takes_shape(outputs[column.name].shape[1:])


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_warmed_by_empty_columns(pairs: dict[str, Pair], kind: str) -> None:
    pair = pairs[kind]
    empty = empty_columns(pair.package, 3)
    assert {name: values.dtype for name, values in empty.items()} == {
        column.name: column.numpy_dtype for column in pair.package.signature.inputs
    }
    assert all(len(values) == 3 for values in pair.predictor.predict(empty).values())


@pytest.mark.parametrize(
    ("kind", "flavor", "output_kind"),
    [
        ("sklearn_classifier", "sklearn", "label"),
        ("sklearn_probabilities", "sklearn", "tensor"),
        ("sklearn_words", "sklearn", "label"),
        ("sklearn_regressor", "sklearn", "value"),
        ("xgboost_booster", "xgboost", "value"),
        ("lightgbm_classifier", "lightgbm", "label"),
        ("torch_images", "torch", "tensor"),
        ("pyfunc_several", "pyfunc", "tensor"),
    ],
)
def test_the_package_of_a_plain_model_says_what_it_is(
    pairs: dict[str, Pair], kind: str, flavor: str, output_kind: str
) -> None:
    package = pairs[kind].package
    assert (package.flavor, package.output_kind, package.lineage, package.features) == (flavor, output_kind, None, None)
    assert ModelPackage.model_validate(package.model_dump(mode="json")) == package


def test_a_plain_model_is_scored_with_its_missing_and_infinite_values(pairs: dict[str, Pair]) -> None:
    pair = pairs["lightgbm_booster"]
    rows = houses(40, seed=5)
    rows.loc[3, "area"] = np.inf
    columns = {name: rows[name].to_numpy() for name in rows}
    scored = score(columns, pair.package.signature, None, lambda views, keys: {}, pair.predictor)
    assert scored.rejects == []
    np.testing.assert_array_equal(scored.outputs["output"], pair.pyfunc.predict(rows))


def test_xgboost_refuses_infinity_as_it_does_behind_mlflow(pairs: dict[str, Pair]) -> None:
    pair = pairs["xgboost_booster"]
    rows = houses(5)
    rows.loc[2, "area"] = np.inf
    with pytest.raises(Exception, match="inf"):
        pair.pyfunc.predict(rows)
    columns = {name: rows[name].to_numpy() for name in rows}
    scored = score(columns, pair.package.signature, None, lambda views, keys: {}, pair.predictor)
    assert [(list(it.rows), str(it.code)) for it in scored.rejects] == [([2], "model_failed")]


@pytest.mark.parametrize("form", ["frame", "records", "dict"])
@pytest.mark.usefixtures("registry")
def test_several_outputs_come_in_any_form_and_are_found_without_a_signature_of_them(form: str) -> None:
    with mlflow.start_run():
        plain = pyfunc_several(form, with_outputs=False)
    package, predictor = load_package(downloaded(plain.uri))
    assert [(it.name, it.dtype) for it in package.signature.outputs] == [
        ("double", "float64"),
        ("large", "bool"),
        ("name", "string"),
    ]
    outputs = predictor.predict(plain.columns)
    assert outputs["double"].tolist() == [1.0, 2.0, 5.0]
    assert outputs["large"].tolist() == [False, False, True]
    assert outputs["name"].tolist() == ["size 0.5", "size 1", "size 2.5"]


def logged(model: Any, **options: Any) -> Path:
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            model, name="model", pip_requirements=["scikit-learn"], serialization_format="cloudpickle", **options
        )
    return downloaded(info.model_uri)


@pytest.mark.usefixtures("registry")
def test_a_signature_that_names_other_outputs_than_the_model_answers_is_corrected() -> None:
    """The author logged the probabilities' signature; MLflow calls predict."""
    table = houses(200)
    model = HistGradientBoostingClassifier(max_iter=3).fit(table, expensive(table))
    folder = logged(model, signature=infer_signature(table, model.predict_proba(table)))
    package, _ = load_package(folder)
    assert [(it.dtype, it.shape) for it in package.signature.outputs] == [("int64", ())]


@pytest.mark.usefixtures("registry")
def test_a_model_without_a_signature_is_refused_with_the_way_out() -> None:
    table = houses(200)
    folder = logged(HistGradientBoostingClassifier(max_iter=3).fit(table, expensive(table)))
    with pytest.raises(PackageError, match=r"no signature.*mlflow\.models\.set_signature.*infer_signature"):
        load_package(folder)


@pytest.mark.usefixtures("registry")
def test_a_model_without_a_signature_is_accepted_when_asked_to_and_it_knows_its_inputs() -> None:
    table = houses(200).astype(np.float64)
    model = HistGradientBoostingClassifier(max_iter=3).fit(table, expensive(table))
    package, predictor = load_package(logged(model), require_signature=False)
    assert [(it.name, it.dtype) for it in package.signature.inputs] == [(name, "float64") for name in table]
    found = predictor.predict({name: table[name].to_numpy() for name in table})["output"]
    np.testing.assert_array_equal(found, model.predict(table))


@pytest.mark.usefixtures("registry")
def test_a_model_that_does_not_know_its_inputs_is_refused_even_then() -> None:
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(name="model", python_model=Several("frame"), pip_requirements=["mlflow"])
    with pytest.raises(PackageError, match="does not know the names of its inputs"):
        load_package(downloaded(info.model_uri), require_signature=False)


@pytest.mark.usefixtures("registry")
def test_the_input_example_finds_outputs_that_empty_rows_would_not() -> None:
    class Picky(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return [int(text.split()[1]) for text in model_input["text"]]

    example = pd.DataFrame({"text": ["take 5"]})
    for options, outcome in (({"input_example": example}, True), ({}, False)):
        with mlflow.start_run():
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=Picky(),
                signature=infer_signature(example),
                pip_requirements=["mlflow"],
                **options,
            )
        if not outcome:
            with pytest.raises(PackageError, match=r"names no outputs.*IndexError"):
                load_package(downloaded(info.model_uri))
            continue
        package, predictor = load_package(downloaded(info.model_uri))
        example_columns = load_example(downloaded(info.model_uri), package)
        assert example_columns is not None
        assert predictor.predict(example_columns)["output"].tolist() == [5]


@pytest.mark.usefixtures("registry")
def test_type_hints_are_a_signature_too() -> None:
    class Lengths(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[str]) -> list[int]:
            return [len(text) for text in model_input]

    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(name="model", python_model=Lengths(), pip_requirements=["mlflow"])
    package, predictor = load_package(downloaded(info.model_uri))
    assert [column.dtype for column in package.signature.inputs] == ["string"]
    texts = np.array(["a", "bcd"], dtype=object)
    expected = mlflow.pyfunc.load_model(info.model_uri).predict(list(texts))
    assert predictor.predict({"input": texts})["output"].tolist() == expected == [1, 3]


@pytest.mark.usefixtures("registry")
def test_an_optional_integer_may_be_left_out_of_some_rows() -> None:
    class Default(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            given = model_input["n"] if "n" in model_input else pd.Series(7, index=model_input.index)
            assert given.dtype == np.int64
            return given.to_numpy() + model_input["x"].to_numpy()

    inputs = Schema([ColSpec(DataType.double, "x"), ColSpec(DataType.long, "n", required=False)])
    signature = ModelSignature(inputs, Schema([ColSpec(DataType.double)]))
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name="model", python_model=Default(), signature=signature, pip_requirements=["mlflow"]
        )
    package, predictor = load_package(downloaded(info.model_uri))
    columns = {"x": np.array([1.0, 2.0, 3.0]), "n": np.array([10.0, np.nan, 30.0])}
    scored = score(columns, package.signature, None, lambda views, keys: {}, predictor)
    assert scored.outputs["output"].tolist() == [11.0, 9.0, 33.0]


@pytest.mark.usefixtures("registry")
def test_a_pipeline_that_selects_columns_by_name_gets_a_data_frame() -> None:
    table = houses(200).fillna(1.0)
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["rooms"]), remainder="passthrough"),
        LogisticRegression(max_iter=500),
    ).fit(table, expensive(table))
    folder = logged(model, signature=infer_signature(table, model.predict(table)))
    _, predictor = load_package(folder)
    shuffled = {name: table[name].to_numpy() for name in reversed(list(table))}
    np.testing.assert_array_equal(predictor.predict(shuffled)["output"], model.predict(table))


class Watched(LogisticRegression):  # type: ignore[misc]
    """Remembers what it was given, and may insist on a DataFrame."""

    insists = False

    def predict_proba(self, inputs: Any) -> Any:
        assert isinstance(inputs, pd.DataFrame) or not self.insists
        self.__dict__.setdefault("seen", []).append(type(inputs))
        return super().predict_proba(inputs)


# Only scikit-learn's own classes are known to look at nothing but the values.
Watched.__module__ = "sklearn.linear_model"


@pytest.mark.parametrize(("insists", "given"), [(False, np.ndarray), (True, pd.DataFrame)])
def test_a_matrix_takes_the_place_of_a_data_frame_only_where_the_answer_is_the_same(insists: bool, given: type) -> None:
    table = houses(200).fillna(1.0).astype(np.float64)
    model = Watched(max_iter=500).fit(table, expensive(table))
    model.insists = insists
    model.__dict__["seen"] = []  # before any copy is made: copies share it
    columns = {str(name): table[name].to_numpy() for name in table}
    ask = sklearn_flavor.ask(
        model, inputs_of([Column(name=name, dtype="float64") for name in columns]), "predict_proba"
    )
    model.__dict__["seen"].clear()
    answer = ask(columns)
    assert model.__dict__["seen"] == [given]
    np.testing.assert_array_equal(answer, model.predict_proba(table))


@pytest.mark.usefixtures("registry")
def test_forests_are_asked_with_one_thread() -> None:
    matrix = houses(200).fillna(0.0).to_numpy(np.float64)
    forest = RandomForestRegressor(n_estimators=5, n_jobs=-1).fit(matrix, matrix[:, 0])
    folder = logged(make_pipeline(forest), signature=infer_signature(matrix, forest.predict(matrix)))
    loaded = sklearn_flavor.load(folder, read(folder).flavors["sklearn"])
    assert loaded.steps[-1][1].n_jobs == 1
    np.testing.assert_allclose(loaded.predict(matrix), forest.predict(matrix), rtol=1e-12)


@pytest.mark.parametrize("kind", ["xgboost_booster", "lightgbm_booster", "torch_images"])
def test_a_library_that_is_not_installed_is_named(
    pairs: dict[str, Pair], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = downloaded(pairs[kind].plain.uri), kind.partition("_")[0]
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PackageError, match=rf"pip install 'taxiway\[{name}\]'"):
        load_package(folder)


def test_a_model_whose_files_are_damaged_is_refused_in_one_sentence(pairs: dict[str, Pair], tmp_path: Path) -> None:
    folder = downloaded(pairs["sklearn_classifier"].plain.uri)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in folder.iterdir():
        (damaged / path.name).write_bytes(b"" if path.suffix == ".pkl" else path.read_bytes())
    with pytest.raises(PackageError, match="this model can't be loaded"):
        load_package(damaged)


def test_a_registered_plain_model_is_loaded_by_the_registry(registry: Path) -> None:
    version, plain = register(registry, "sklearn_words")
    loaded = Registry(registry_settings(registry)).load(version)
    assert set(loaded.predictor.predict(plain.columns)["output"]) == {"dear", "cheap"}


NATIVE = [kind for kind in EVERY_KIND if not kind.startswith("pyfunc")]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_a_model_says_of_itself_is_read_as_mlflow_reads_it(pairs: dict[str, Pair], kind: str) -> None:
    folder = downloaded(pairs[kind].plain.uri)
    assert read(folder).to_dict() == Model.load(str(folder)).to_dict()


@pytest.mark.parametrize("kind", NATIVE)
def test_it_is_read_once(pairs: dict[str, Pair], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = downloaded(pairs[kind].plain.uri)

    def again(*_: Any) -> Any:
        raise AssertionError("MLflow reads MLmodel once more")

    monkeypatch.setattr(Model, "load", again)
    _, predictor = load_package(folder)
    for found, expected in zip(
        predictor.predict(pairs[kind].plain.columns).values(),
        pairs[kind].predictor.predict(pairs[kind].plain.columns).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["sklearn_classifier", "lightgbm_classifier"])
def test_mlflow_s_switch_against_pickled_models_holds(
    pairs: dict[str, Pair], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = downloaded(pairs[kind].plain.uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(PackageError, match="can't be loaded: MlflowException: Deserializing"):
        load_package(folder)


def test_code_that_was_logged_with_a_model_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    logged = Model(flavors={"sklearn": {"code": "code"}})
    for _ in range(2):
        flavor_of(logged, "sklearn", tmp_path)
    assert sys.path.count(str(tmp_path / "code")) == 1
    with pytest.raises(PackageError, match='does not have the "xgboost" flavor'):
        flavor_of(logged, "xgboost", tmp_path)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no model that MLflow logged"):
        load_package(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors: {spark: {}}")
    with pytest.raises(PackageError, match="logged as spark; it must be one of sklearn, xgboost"):
        load_package(tmp_path)


# Torch


def test_a_module_is_in_its_evaluation_mode(pairs: dict[str, Pair]) -> None:
    pair = pairs["torch_images"]
    first, second = (pair.predictor.predict(pair.plain.columns)["output"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_reduced_precision_answers_nearly_the_same_in_the_declared_type(pairs: dict[str, Pair], precision: Any) -> None:
    pair = pairs["torch_images"]
    _, reduced = load_package(downloaded(pair.plain.uri), precision=precision)
    found, exact = (it.predict(pair.plain.columns)["output"] for it in (reduced, pair.predictor))
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_a_gpu_that_is_not_there_is_an_error_of_the_operator(pairs: dict[str, Pair]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PackageError, match="cuda is asked for, and PyTorch finds no GPU"):
        load_package(downloaded(pairs["torch_images"].plain.uri), device="cuda")
    with pytest.raises(PackageError, match="device"):
        load_package(downloaded(pairs["torch_images"].plain.uri), device="toaster")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_answers_as_the_cpu_does(pairs: dict[str, Pair], precision: Any) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    pair = pairs["torch_images"]
    folder = downloaded(pair.plain.uri)
    _, on_gpu = load_package(folder, device="cuda", precision=precision)
    _, on_cpu = load_package(folder, device="cpu")
    found, expected = (it.predict(pair.plain.columns)["output"] for it in (on_gpu, on_cpu))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3 if precision == "fp32" else 0.05)
