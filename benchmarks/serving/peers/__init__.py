"""The servers that Taxiway is compared with, each a small program for an environment of its own."""
