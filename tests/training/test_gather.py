"""A loss over all pairs of the rows of two processes, and its gradient, are those of one process."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from plait.objectives.gathered import gather_rows, own_rows
from training.all_pairs import pairs
from training.launched import launch

WORKER = Path(__file__).with_name("all_pairs.py")


def test_one_process_gathers_what_it_has() -> None:
    x = torch.randn(5, 3, requires_grad=True)
    assert gather_rows(x) is x
    assert own_rows(5).tolist() == [True] * 5


def test_two_processes_count_each_pair_once_and_send_gradients_home(tmp_path: Path) -> None:
    launch(WORKER, tmp_path, timeout=120)
    expected = pairs()
    assert expected["ragged.sums"][1] == 55
    for rank in (0, 1):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
