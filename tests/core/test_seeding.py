"""Seeds depend on the run's seed and on names, not on the order of calls or the process."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.seeding import generator, seed_for, seed_torch


def test_a_seed_is_the_start_of_a_sha256() -> None:
    # printf '7/weights/3' | sha256sum, its first 16 hex digits, halved
    assert seed_for(7, "weights", 3) == 0xB2B7863420D53C37 >> 1


@settings(deadline=None)
@given(st.integers(0), st.lists(st.text(), max_size=3))
def test_a_seed_has_63_bits(seed: int, names: list[str]) -> None:
    assert 0 <= seed_for(seed, *names) < 2**63


def test_seeds_differ_by_every_part() -> None:
    seeds = {
        seed_for(seed, *names) for seed in range(5) for names in [(), ("a",), ("b",), ("a", 1), ("a", 2), (1, "a")]
    }
    assert len(seeds) == 30


def test_another_process_draws_the_same() -> None:
    code = "from plait.core.seeding import generator; print(generator(3, 'rows', 1).integers(1 << 40))"
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert runs == {b"%d\n" % generator(3, "rows", 1).integers(1 << 40)}


def test_generators_do_not_touch_each_other() -> None:
    alone = generator(1, "a").random(5)
    one, other = generator(1, "a"), generator(1, "b")
    mixed = np.array([(one.random(), other.random())[0] for _ in range(5)])
    assert np.array_equal(mixed, alone)


@pytest.mark.parametrize("before", [0, 3])
def test_torch_and_python_start_from_the_name(before: int) -> None:
    seed_torch(11, "fusion")
    expected = torch.rand(3), random.random()
    torch.rand(before), [random.random() for _ in range(before)]
    seed_torch(11, "fusion")
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]
    seed_torch(11, "head")
    assert not torch.equal(torch.rand(3), expected[0])
