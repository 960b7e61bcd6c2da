"""The scoring job as the peers' documentation shows it; each program needs nothing of Taxiway."""
