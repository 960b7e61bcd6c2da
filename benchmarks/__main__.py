"""`make bench`: the flights example, then Taxiway among its peers."""

import sys

from benchmarks.flights.__main__ import main as flights
from benchmarks.serving.__main__ import main as serving

if __name__ == "__main__":
    sys.exit(max(flights(), serving([])))
