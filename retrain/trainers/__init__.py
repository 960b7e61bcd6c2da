"""Trainers: what fits the model. The given ones, and the contract that a user's own class fulfils."""
