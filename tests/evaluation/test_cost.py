"""What a computation costs, against what is known in closed form of its tensors."""

import time

import pytest
import torch
from torch import nn

from plait.evaluation.cost import peak_bytes, step_ms

CPU = torch.device("cpu")
KIB = 256
"""Values of float32 in a KiB."""


def test_tensors_that_live_together_are_added_and_freed_ones_are_not() -> None:
    def run() -> None:
        one = torch.ones(3 * KIB)
        two = torch.ones(5 * KIB)
        del one
        three = torch.ones(2 * KIB)
        del two, three
        torch.ones(4 * KIB)

    assert peak_bytes(run, CPU) == (3 + 5) * 1024


def test_a_freed_tensor_makes_room_for_the_next() -> None:
    def run() -> None:
        for _ in range(7):
            torch.zeros(3 * KIB)

    assert peak_bytes(run, CPU) == 3 * 1024


def test_views_and_changes_in_place_count_once() -> None:
    def run() -> None:
        one = torch.zeros(7, 5, KIB)
        views = [one.view(-1), one[2:], one.transpose(0, 1), one.detach(), one.expand(3, 7, 5, KIB)]
        one.add_(1.0)
        del one
        views.append(views[0].view(5, -1))
        torch.ones(KIB)

    assert peak_bytes(run, CPU) == (35 + 1) * 1024


def test_a_view_keeps_the_whole_storage_alive() -> None:
    def run() -> None:
        corner = torch.zeros(11, KIB)[0]
        torch.ones(2 * KIB)
        assert corner.shape == (KIB,)

    assert peak_bytes(run, CPU) == (11 + 2) * 1024


def test_what_was_there_before_does_not_count() -> None:
    weight, bias = torch.ones(13 * KIB), torch.ones(13 * KIB)

    def run() -> None:
        weight.mul_(2.0)
        weight.view(13, KIB)[3].add_(bias[:KIB])

    assert peak_bytes(run, CPU) == 0
    assert peak_bytes(lambda: weight + bias, CPU) == 13 * 1024


def test_a_tensor_of_python_numbers_counts() -> None:
    assert peak_bytes(lambda: torch.tensor([1.0] * KIB), CPU) == 1024


def test_what_the_backward_pass_needs_is_held_until_it_has_run() -> None:
    """Five times exp: each saves its output, so five live before the backward pass; then each is freed in turn.

    At the peak: 5 outputs, the gradient of the last, and what backward makes of it.
    """
    x = torch.zeros(KIB, requires_grad=True)

    def forward() -> torch.Tensor:
        y = x
        for _ in range(5):
            y = y.exp()
        return y

    def without() -> None:
        with torch.no_grad():
            forward()

    assert peak_bytes(without, CPU) == 2 * 1024
    assert peak_bytes(forward, CPU) == 5 * 1024
    gradient = torch.ones(KIB)
    assert 6 * 1024 <= peak_bytes(lambda: forward().backward(gradient), CPU) <= 7 * 1024
    assert x.grad is not None


def test_gradients_of_parameters_count() -> None:
    """y = W x, summed: the product, its sum, and the gradients, of which that of W is the largest by far."""
    layer = nn.Linear(64, 64, bias=False)
    x = torch.ones(1, 64)
    found = peak_bytes(lambda: layer(x).sum().backward(), CPU)
    assert 64 * 64 * 4 <= found <= 64 * 64 * 4 + 4 * 64 * 4
    assert layer.weight.grad is not None


def test_an_error_inside_comes_through_and_leaves_nothing_on() -> None:
    def run() -> None:
        torch.ones(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        peak_bytes(run, CPU)
    assert peak_bytes(lambda: torch.ones(KIB), CPU) == 1024


def test_the_time_of_a_step_is_the_median_of_turns_in_alternation(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    taken = {"slow": iter([90, 90, 3, 900, 5, 4, 6]), "fast": iter([70, 70, 1, 2, 3, 1, 1])}
    order: list[str] = []

    def step(name: str) -> None:
        order.append(name)
        now[0] += next(taken[name]) / 1000

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = step_ms({name: lambda name=name: step(name) for name in taken}, CPU, warm=2, repeats=5)  # type: ignore[misc]
    assert order == ["slow", "fast"] * 7
    assert found == {"slow": pytest.approx(5.0), "fast": pytest.approx(1.0)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_the_allocator_says_the_peak() -> None:
    cuda = torch.device("cuda")
    before = torch.ones(1024 * KIB, device=cuda)

    def run() -> None:
        one = torch.ones(3 * 1024 * KIB, device=cuda)
        torch.ones(2 * 1024 * KIB, device=cuda)
        del one

    assert peak_bytes(run, cuda) == 5 * 1024 * 1024
    assert before.sum() == 1024 * KIB
