"""Seeds that depend on a name and not on the order of calls."""

import hashlib
import random

import numpy as np


def seed_for(seed: int, *names: object) -> int:
    """A 63-bit seed drawn from the run's seed and a name, the same in every process."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator for one named purpose."""
    return np.random.default_rng(seed_for(seed, *names))


def seed_torch(seed: int, *names: object) -> None:
    """Seed torch and Python for one named purpose, so that a part's start does not depend on its neighbours."""
    import torch

    value = seed_for(seed, *names)
    torch.manual_seed(value)
    random.seed(value)
