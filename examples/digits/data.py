"""The 1,797 images that come with scikit-learn (Alpaydin and Kaynak 1998), and a part of them held out."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Images = NDArray[np.float32]
Digits = NDArray[np.int64]

CLASSES = 10
_BRIGHTEST = 16.0


@dataclass(frozen=True)
class Labelled:
    """Images with what they show.

    Args:
        images: float32 [rows, 1, 8, 8], 0 is paper and 1 is ink.
        digits: int64 [rows], 0 to 9.
    """

    images: Images
    digits: Digits

    def __len__(self) -> int:
        return len(self.digits)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of types, shapes and values."""
        sha = hashlib.sha256()
        for name, values in (("image", self.images), ("digit", self.digits)):
            sha.update(f"{name}\0{values.dtype}\0{values.shape}\0".encode())
            sha.update(np.ascontiguousarray(values).data)
        return sha.hexdigest()


def read_digits() -> Labelled:
    """All images, in the order of the source."""
    source = load_digits()
    return Labelled((source.images[:, None] / _BRIGHTEST).astype(np.float32), source.target.astype(np.int64))


def split(labelled: Labelled, seed: int, held_out: float = 0.2) -> tuple[Labelled, Labelled]:
    """What is learned from and what judges, with every digit's share in both. The source does not say who wrote
    which image: hands that were learned from are among those that judge."""
    rows = np.arange(len(labelled))
    learn, judge = train_test_split(rows, test_size=held_out, stratify=labelled.digits, random_state=seed)
    train, evaluate = (Labelled(labelled.images[it], labelled.digits[it]) for it in (learn, judge))
    return train, evaluate
