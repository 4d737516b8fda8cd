"""Batches slice, lose whole modalities, and are refused on the CPU before a model reads them."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from plait.core.errors import ConfigError, DataError
from plait.core.schema import Schema
from plait.core.tokens import Batch, Notes, Tokens, anchored

B, T, V, M, E = 5, 7, 3, 2, 11


def batch() -> Batch:
    inputs = {
        "series": torch.arange(float(B * T * V)).reshape(B, T, V),
        "series_mask": torch.ones(B, T, V, dtype=torch.bool),
        "text": torch.ones(B, M, E),
        "text_mask": torch.tensor([[True, False]] * B),
        "texture": torch.ones(B, 3),
        "season": torch.arange(B),
    }
    return Batch(inputs, {"y": torch.arange(float(B))}, {"row": torch.arange(B) * 10})


def test_tokens_that_are_all_present() -> None:
    tokens = Tokens.full(torch.zeros(B, M, E))
    assert tokens.mask.shape == (B, M)
    assert tokens.mask.dtype == torch.bool
    assert tokens.mask.all()


def test_a_row_is_present_with_one_token() -> None:
    mask = torch.tensor([[True, False, False], [False, False, False], [False, True, True]])
    assert Tokens(torch.zeros(3, 3, 2), mask).present.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "index", [slice(1, 4), torch.tensor([4, 0, 4]), torch.tensor([True, False, True, False, False])]
)
def test_rows_slice_every_tensor(index: torch.Tensor | slice) -> None:
    part = batch().rows(index)
    expected = torch.arange(B)[index]
    assert len(part.info["row"]) == len(expected)
    assert part.inputs["season"].equal(expected)
    assert part.info["row"].equal(expected * 10)
    assert part.targets["y"].equal(expected.float())
    assert part.inputs["series"].equal(batch().inputs["series"][expected])


def test_without_leaves_out_the_inputs_of_the_modality_only() -> None:
    left = batch().without(["text"])
    assert set(left.inputs) == {"series", "series_mask", "texture", "season"}
    assert set(batch().inputs) == {*left.inputs, "text", "text_mask"}
    assert left.targets.keys() == batch().targets.keys()
    assert left.info.keys() == batch().info.keys()
    assert set(batch().without([]).inputs) == set(batch().inputs)


@pytest.mark.parametrize("names", [("text", "text_b"), ("a_b", "a")])
def test_names_of_modalities_may_not_contain_each_other(names: tuple[str, str]) -> None:
    # `without(["text"])` would take the inputs of `text_b` along.
    with pytest.raises(ConfigError, match="begins with the name of"):
        Schema(names[0], dict.fromkeys(names, 1))


def test_a_schema_reads_back_and_an_older_file_has_no_groups() -> None:
    schema = Schema(
        "series", {"series": V, "text": E}, ("a", "b"), 7, 5, stream_tokens={"text": 6}, grouped={"text": 3}
    )
    plain = json.loads(json.dumps(schema.to_json()))
    assert Schema.from_json(plain) == schema
    del plain["grouped"]
    assert Schema.from_json(plain) == replace(schema, grouped={})
    assert schema.with_widths({"series": 8}).grouped == {"text": 3}


def test_a_loss_is_noted_as_sum_over_rows_and_number_of_rows() -> None:
    notes, other = Notes(), Notes(explain=True)
    rows = torch.full((301,), 0.5, dtype=torch.bfloat16, requires_grad=True)
    notes.add_loss("size", rows)
    total, weight = notes.losses["size"]
    # bfloat16 can count to 256 only.
    assert (total.item(), weight.item()) == (150.5, 301.0)
    total.backward()
    assert torch.equal(rows.grad, torch.ones_like(rows))
    assert not weight.requires_grad
    assert (other.maps, other.losses) == ({}, {})


def test_to_moves_every_tensor() -> None:
    moved = batch().to("meta")
    assert {t.device.type for part in moved for t in part.values()} == {"meta"}


def test_a_batch_is_a_tree_of_tensors() -> None:
    doubled = pytree.tree_map(lambda t: t.clone(), batch())
    assert isinstance(doubled, Batch)
    assert doubled.inputs["season"].equal(torch.arange(B))


def test_check_takes_a_good_batch() -> None:
    batch().check(["series", "series_mask"])


def test_check_names_what_is_missing() -> None:
    with pytest.raises(DataError, match="lacks graph, rocks"):
        batch().check(["series", "graph", "rocks"])


@pytest.mark.parametrize("part", [0, 1, 2])
def test_check_compares_rows_over_all_parts(part: int) -> None:
    broken = batch()
    broken[part]["late"] = torch.zeros(B + 1, 2)
    with pytest.raises(DataError, match=r"differ in rows.*'late': 6"):
        broken.check([])


def test_check_refuses_a_number_without_rows() -> None:
    broken = batch()
    broken.inputs["alpha"] = torch.tensor(1.0)
    with pytest.raises(DataError, match=r"differ in rows.*'alpha': 0"):
        broken.check([])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_check_finds_the_value_that_is_not_finite(bad: float) -> None:
    broken = batch()
    broken.inputs["series"][3, 5, 1] = bad
    with pytest.raises(DataError, match=r"batch\.inputs\.series: value at \(3, 5, 1\)"):
        broken.check([])
    broken.inputs["series_mask"][3, 5, 1] = False
    broken.check([])


@settings(deadline=None)
@given(st.integers(0, B - 1), st.integers(0, E - 1))
def test_the_content_of_an_absent_token_may_be_anything(row: int, place: int) -> None:
    odd = batch()
    odd.inputs["text"][row, 1, place] = torch.nan
    odd.check(["text"])
    odd.inputs["text"][row, 0, place] = torch.nan
    with pytest.raises(DataError, match=rf"batch\.inputs\.text: value at \({row}, 0, {place}\)"):
        odd.check(["text"])


@pytest.mark.parametrize("mask", [torch.ones(B, M), torch.ones(B, M + 1, dtype=torch.bool)])
def test_check_refuses_a_mask_that_does_not_fit(mask: torch.Tensor) -> None:
    broken = batch()
    broken.inputs["text_mask"] = mask
    with pytest.raises(DataError, match=r"batch\.inputs\.text_mask: .*is no mask of \(5, 2, 11\)"):
        broken.check([])


def test_the_anchor_is_parted_from_the_others_by_name() -> None:
    streams = {name: Tokens.full(torch.ones(B, 1, 1)) for name in ("text", "series", "graph")}
    anchor, contexts = anchored(streams, "series")
    assert anchor.x.equal(streams["series"].x)
    assert list(contexts) == ["graph", "text"]
    with pytest.raises(DataError, match=r"'rocks' is absent.*streams: text, series, graph"):
        anchored(streams, "rocks")
