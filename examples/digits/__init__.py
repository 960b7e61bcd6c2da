"""Handwritten digits: a small convolutional network, learned by Ray Train and served as tensors."""
