"""What grows in a server that gets garbage for an hour."""
