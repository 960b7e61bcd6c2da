"""How many endpoints one replica takes, and how many models one multiplexed endpoint."""
