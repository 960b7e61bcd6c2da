"""What a scoring job reads: files and tables, found, cut into pieces and read batch by batch."""
