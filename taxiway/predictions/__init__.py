"""What was answered and what later proved true: files of Parquet that anybody can read, and their join."""
