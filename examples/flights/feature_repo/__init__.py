"""The Feast repository of the flights example."""
