"""Spark on the cores of this machine, with MLflow's UDF or with pandas DataFrames of many rows."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from pyspark.sql import DataFrame, SparkSession  # type: ignore[import-not-found]
from pyspark.sql.functions import struct  # type: ignore[import-not-found]

BATCH_ROWS = 65_536
# Four of our files a task: two tasks at a million rows, ten at ten million.
TASK_BYTES = 32 << 20


def main() -> None:
    """`spark_app.py udf|pandas MODEL INPUT OUTPUT --cores N`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("udf", "pandas"))
    parser.add_argument("model")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    spark = session(given.cores)
    rows = spark.read.parquet(given.input)
    names = [name for name in rows.columns if name != "row_id"]
    scored = with_udf(spark, rows, names, given.model) if given.way == "udf" else in_pandas(rows, names, given.model)
    scored.write.parquet(given.output)
    spark.stop()


def session(cores: int) -> Any:
    """A Spark of its own, which listens on the loopback interface only."""
    return (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.files.maxPartitionBytes", TASK_BYTES)
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH_ROWS)
        .getOrCreate()
    )


def with_udf(spark: Any, rows: DataFrame, names: list[str], model: str) -> DataFrame:
    """The model that MLflow has saved, column by column."""
    # Whose import takes seconds that the other way does not need.
    import mlflow

    predict = mlflow.pyfunc.spark_udf(spark, model, result_type="double", env_manager="local")
    return rows.select("row_id", predict(struct(*names)).alias("late_probability"))


def in_pandas(rows: DataFrame, names: list[str], model: str) -> DataFrame:
    """The model itself, asked about whole DataFrames."""

    def score(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        classifier = joblib.load(model)
        for frame in frames:
            scores = classifier.predict_proba(frame[names].to_numpy())[:, 1]
            Path(os.environ["FIRST_ROW"]).touch()
            yield pd.DataFrame({"row_id": frame["row_id"], "late_probability": scores})

    return rows.mapInPandas(score, "row_id long, late_probability double")


if __name__ == "__main__":
    main()
