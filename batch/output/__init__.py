"""What a scoring job writes: parts, commit records, and the publication of all of them at once."""
