"""Mixup is a function of key and row, mixes logs of counts, and cuts and pads rows by laws."""

from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from data.sample_study import check_same, data_of, dense_of
from plait.data.mixup import draw_partners, mixed_counts
from plait.data.sample_counts import most_abundant, padded


def test_mixup_is_a_function_of_the_key_and_the_row(tmp_path: Path) -> None:
    data = data_of(tmp_path, mixup=0.4)
    whole = data.training_batch(data.rows("train"), "fit", 1)
    order = np.random.default_rng(0).permutation(data.rows("train"))[:7]
    part = data.training_batch(order, "fit", 1)
    n = len(data.features)
    assert torch.equal(dense_of(part, n), dense_of(whole, n)[order])
    for side in ("targets", "info"):
        for name, tensor in getattr(part, side).items():
            assert torch.equal(tensor, getattr(whole, side)[name][order]), name
    again = data_of(tmp_path, mixup=0.4)
    again.training_batch([0], "fit", 2)
    check_same(again.training_batch(order, "fit", 1), part)
    other = again.training_batch(order, "fit", 2)
    assert not torch.equal(other.targets["share"], part.targets["share"])
    rival = data_of(tmp_path, seed=4, mixup=0.4).training_batch(order, "fit", 1)
    assert not torch.equal(rival.targets["share"], part.targets["share"])


def test_mixup_mixes_logs_of_counts_and_keeps_the_greater_share(tmp_path: Path) -> None:
    data = data_of(tmp_path, mixup=0.4, seed=8)
    index = data.rows("train")[::-1]
    plain, mixed = data.batch("train", index), data.training_batch(index, 5)
    share = mixed.targets["share"]
    assert (share >= 0.5).all()
    assert (share <= 1).all()
    assert share.dtype == torch.float32
    for name in ("metadata", "metadata_numbers", "metadata_mask"):
        assert torch.equal(mixed.inputs[name], plain.inputs[name])
    assert torch.equal(mixed.targets["y"], plain.targets["y"])
    every = {round(float(y), 4): row for row, y in enumerate(plain.targets["y"])}
    other = [every[round(float(y), 4)] for y in mixed.targets["y_other"]]
    assert sorted(other) == list(range(len(index)))
    assert mixed.targets["mask_other"].all()
    x = dense_of(plain, len(data.features)).double()
    one, rest = share.double()[:, None], 1 - share.double()[:, None]
    expected = torch.expm1(one * torch.log1p(x) + rest * torch.log1p(x[other]))
    got = dense_of(mixed, len(data.features)).double()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(got > 0, (x > 0) | ((x[other] > 0) & (rest > 0)))
    assert set(data_of(tmp_path).training_batch(index, 5).targets) == {"y", "mask"}
    few = data_of(tmp_path, mixup=0.4, most_features=5).training_batch(index, 5)
    assert few.inputs["asv"].shape[1] == 5


def test_a_share_of_one_gives_the_sample_back() -> None:
    counts = sparse.random_array((11, 13), density=0.4, format="csr", rng=np.random.default_rng(2))
    counts.data = np.ceil(counts.data * 5000)
    logs = counts.copy()
    logs.data = np.log1p(logs.data)
    rows, other = np.arange(11), np.roll(np.arange(11), 1)
    got = mixed_counts(logs, rows, other, np.ones(11, dtype=np.float32))
    np.testing.assert_array_equal(got.indices, counts.indices)
    np.testing.assert_array_equal(got.data.astype(np.float32), counts.data.astype(np.float32))
    half = mixed_counts(logs, rows, rows, np.full(11, 0.5, dtype=np.float32))
    np.testing.assert_allclose(half.toarray(), counts.toarray(), rtol=1e-12)


def test_shares_have_the_law_of_the_greater_part_of_a_beta() -> None:
    partners = draw_partners(20011, 1.0, 7, "x")
    np.testing.assert_array_equal(np.sort(partners.other), np.arange(20011))
    # Beta(1, 1) is uniform, so the greater part is uniform over [0.5, 1].
    np.testing.assert_allclose(np.quantile(partners.share, [0.1, 0.5, 0.9]), [0.55, 0.75, 0.95], atol=0.01)


def test_the_most_abundant_stay_and_ties_go_by_number() -> None:
    dense = np.array([[3, 0, 5, 5, 1], [2, 2, 2, 2, 2], [0, 0, 0, 0, 0], [0, 9, 0, 0, 1]], dtype=float)
    got = most_abundant(sparse.csr_array(dense), 2)
    np.testing.assert_array_equal(got.toarray(), [[0, 0, 5, 5, 0], [2, 2, 0, 0, 0], [0] * 5, [0, 9, 0, 0, 1]])
    assert got.has_canonical_format
    got = padded(got, np.array([2, 0]))
    assert got["asv"].tolist() == [[0, 0], [2, 3]]
    assert got["asv_mask"].tolist() == [[False, False], [True, True]]
    whole = sparse.csr_array(dense)
    assert most_abundant(whole, None) is most_abundant(whole, 5) is whole
