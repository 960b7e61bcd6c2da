"""One module for each wire protocol: bytes to columns, columns to bytes, and nothing else."""
