"""What runs Taxiway on a cluster."""
