"""The flights example: its endpoint beside FastAPI, its scoring job beside a plain loop."""
