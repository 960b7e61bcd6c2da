"""The limit: raw ASGI on uvicorn, orjson, opportunistic batching, nothing else: `python limit.py MODEL PORT`."""

import asyncio
import sys
from typing import Any

import joblib
import numpy as np
import orjson
import uvicorn

from taxiway.boosted_trees import without_checks

model = without_checks(joblib.load(sys.argv[1]))
waiting: list[tuple[np.ndarray[Any, Any], asyncio.Future[Any]]] = []
_COLUMNS = 15
_BATCH_ROWS = 1024


def flush() -> None:
    """Predicts what has gathered and hands each request its own rows."""
    batch = waiting[:]
    waiting.clear()
    while batch:
        part = [batch.pop(0)]
        rows = len(part[0][0])
        while batch and rows + len(batch[0][0]) <= _BATCH_ROWS:
            part.append(batch.pop(0))
            rows += len(part[-1][0])
        predictions = model.predict_proba(np.concatenate([one for one, _ in part]))[:, 1]
        offset = 0
        for one, answer in part:
            if not answer.done():
                answer.set_result(predictions[offset : offset + len(one)])
            offset += len(one)


def parse(headers: Any, body: bytes) -> Any:
    """Rows of a JSON body, or of an inference request with one binary tensor."""
    size = next((int(value) for name, value in headers if name == b"inference-header-content-length"), None)
    if size is None:
        rows = np.array(orjson.loads(body)["rows"], dtype=np.float64)
    else:
        tensor = orjson.loads(body[:size])["inputs"][0]
        rows = np.frombuffer(body, "<f8", offset=size).reshape(tensor["shape"])
    if rows.ndim != 2 or rows.shape[1] != _COLUMNS:
        raise ValueError
    return rows, size is not None


def render(predictions: Any, binary: bool) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body in the request's own form, and its headers."""
    if not binary:
        return orjson.dumps({"predictions": predictions.tolist()}), [(b"content-type", b"application/json")]
    raw = predictions.tobytes()
    parameters = {"binary_data_size": len(raw)}
    output = {"name": "probability", "shape": [len(predictions)], "datatype": "FP64", "parameters": parameters}
    head = orjson.dumps({"model_name": "limit", "outputs": [output]})
    return head + raw, [(b"inference-header-content-length", str(len(head)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """One route, whatever the path."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    loop = asyncio.get_running_loop()
    try:
        rows, binary = parse(scope["headers"], body)
    except (ValueError, KeyError, TypeError):
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    if not waiting:
        # Two turns of the loop: by then every socket that was readable has been parsed.
        loop.call_soon(loop.call_soon, flush)
    answer: asyncio.Future[Any] = loop.create_future()
    waiting.append((rows, answer))
    content, headers = render(await answer, binary)
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False, lifespan="off")
