"""One model behind Taxiway and behind its peers: requests/s, latency, CPU and memory, all in one run."""
