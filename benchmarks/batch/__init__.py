"""One scoring job by Taxiway and by its peers: rows/s, start-up, CPU and memory, all in one run."""
