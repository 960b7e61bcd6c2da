"""One search with a checkpoint at every so many looks, or with none: FOLDER, EVERY, a folder for its steps, CONFIG."""

import json
import logging
import pickle
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.retraining.material import SEARCH_DATA
from benchmarks.retraining.trainer import Timed
from retrain.cluster import connected
from retrain.search import search
from retrain.settings import load_retraining


def main() -> int:
    folder, every, steps, config = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    logging.getLogger("ray").setLevel(logging.ERROR)
    data = pickle.loads((folder / SEARCH_DATA).read_bytes())
    settings = load_retraining(config, datetime.now(UTC)).search
    with connected():
        began = time.perf_counter()
        looks = search(data, settings, Timed(str(steps)), steps / "search", checkpoint_every=every)
        seconds = time.perf_counter() - began
    print(json.dumps({"search_s": seconds, "looks": len(looks)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
