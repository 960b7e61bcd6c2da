"""What Taxiway costs, with a peer measured in the same run: `make bench`."""
