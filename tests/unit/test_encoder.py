import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from taxiway.encoder import ColumnEncoder
from taxiway.flavors import sklearn
from taxiway.flavors.inputs import inputs_of
from taxiway.flavors.verified import Ask
from taxiway.signature import Column
from tests.tiny_model import SIGNATURE, parcels, train


def probabilities(model: Pipeline) -> Ask:
    return sklearn.ask(model, inputs_of(SIGNATURE.inputs), "predict_proba")


def test_categories_become_their_positions_and_strangers_missing() -> None:
    encoder = ColumnEncoder(["color", "size"], {"color": ["red", "green"]})
    columns = {"color": np.array(["green", "pink", None, "red"], dtype=object), "size": np.arange(4.0)}
    np.testing.assert_array_equal(encoder.transform(columns), [[1, 0], [np.nan, 1], [np.nan, 2], [0, 3]])


def test_columns_and_a_data_frame_give_the_same_probabilities() -> None:
    model, columns = train(), parcels(500, seed=9)
    from_columns = probabilities(model)(columns)[:, 1]
    np.testing.assert_array_equal(from_columns, model.predict_proba(pd.DataFrame(columns))[:, 1])


def test_a_row_has_the_same_probability_alone_and_among_others() -> None:
    ask, columns = probabilities(train()), parcels(100, seed=3)
    together = ask(columns)[:, 1]
    rows = [{name: values[row : row + 1] for name, values in columns.items()} for row in range(100)]
    alone = [ask(row)[0, 1] for row in rows]
    np.testing.assert_array_equal(together, alone)


def test_a_pipeline_of_another_kind_gets_a_data_frame() -> None:
    class Frames(HistGradientBoostingClassifier):  # type: ignore[misc]
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict_proba(self, inputs: object) -> object:
            assert isinstance(inputs, pd.DataFrame)
            return np.tile([0.25, 0.75], (len(inputs), 1))

    model = Pipeline([("model", Frames())])
    ask = sklearn.ask(model, inputs_of([Column(name="a", dtype="float64")]), "predict_proba")
    assert ask({"a": np.ones(2)})[:, 1].tolist() == [0.75, 0.75]
