"""Tests of the forecast head: its hidden layer, and the context that modulates it."""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F

from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads._answers import QUANTILES
from plait.heads.forecast import Forecast, ForecastConfig
from plait.testing import check_head
from plait.testing.heads import head_schema

SCHEMA = Schema("series", {"series": 19, "text": 17, "facts": 5}, tuple("abc"), lookback=11, horizon=13)
HIDDEN = 7


def head(fresh: bool = False, schema: Schema = SCHEMA, **fields: Any) -> Forecast:
    torch.manual_seed(0)
    built = ForecastConfig(**{"hidden": HIDDEN, **fields}).build(schema).double().eval()
    if not fresh:
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.normal_(std=0.5)
    return built


def streams() -> tuple[Tokens, dict[str, Tokens]]:
    """Row 0 is full, row 1 lacks a variate and some text, row 2 has no context; what is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    found = {}
    for name, count in (("text", 6), ("series", 3), ("facts", 2)):
        x = torch.randn(3, count, SCHEMA.streams[name], generator=maker, dtype=torch.float64)
        mask = torch.ones(3, count, dtype=torch.bool)
        mask[1, -1] = False
        mask[2] = name == "series"
        found[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return found.pop("series"), found


@torch.no_grad()
def test_forecast_equals_its_formula_token_by_token() -> None:
    tokens, context = streams()
    for part in (head(film=True), head(), head(hidden=0)):
        w, got = dict(part.named_parameters()), part(tokens, context).point
        assert got.shape == (3, 13, 3)
        for row in range(3):
            seen = []
            for name, (x, mask) in sorted(context.items()) if part.film is not None else ():
                matrix, bias = w[f"contexts.project.{name}.weight"], w[f"contexts.project.{name}.bias"]
                seen += [matrix @ token + bias for token, there in zip(x[row], mask[row], strict=True) if there]
            for variate in range(3):
                x = tokens.x[row, variate] if tokens.mask[row, variate] else torch.zeros(19, dtype=torch.float64)
                if part.hidden is not None:
                    x = w["hidden.weight"] @ x + w["hidden.bias"]
                    if seen:
                        inner = F.gelu(w["film.up.weight"] @ (sum(seen) / len(seen)) + w["film.up.bias"])
                        out = w["film.down.weight"] @ inner + w["film.down.bias"]
                        x = (1 + out[:HIDDEN]) * x + out[HIDDEN:]
                    x = F.gelu(x)
                want = w["project.weight"] @ x + w["project.bias"]
                torch.testing.assert_close(got[row, :, variate], want)


@torch.no_grad()
def test_the_modulated_forecast_starts_as_the_one_without_context() -> None:
    tokens, context = streams()
    part = head(fresh=True, film=True)
    want = part(tokens, {}).point
    assert torch.equal(part(tokens, context).point, want)
    alone = Schema("series", {"series": 19}, horizon=13)
    for other in (head(fresh=True), head(fresh=True, film=True, schema=alone)):
        assert torch.equal(other(tokens, context).point, want)


@torch.no_grad()
def test_a_row_without_context_is_forecast_from_its_tokens_alone() -> None:
    tokens, context = streams()
    part = head(film=True)
    got, want = part(tokens, context).point, part(tokens, {}).point
    assert torch.equal(got[2], want[2])
    assert not torch.allclose(got[:2], want[:2])


@torch.no_grad()
def test_a_stream_that_is_not_of_the_schema_is_not_read() -> None:
    tokens, context = streams()
    part = head(film=True, schema=Schema("series", {"series": 19, "text": 17}, horizon=13))
    want = part(tokens, {"text": context["text"]}).point
    assert torch.equal(part(tokens, context).point, want)
    assert torch.equal(part(tokens, {"facts": context["facts"]}).point, part(tokens, {}).point)


def test_what_is_built() -> None:
    plain, alone = ForecastConfig().build(SCHEMA), head(film=True, schema=Schema("series", {"series": 19}, horizon=13))
    assert [name for name, _ in plain.named_parameters()] == ["project.weight", "project.bias"]
    assert {name.split(".")[0] for name, _ in alone.named_parameters()} == {"hidden", "project"}
    assert plain.project.weight.shape == (13, 19)
    assert alone.project.weight.shape == (13, HIDDEN)


def test_dropout_acts_before_the_last_map_only() -> None:
    tokens, _ = streams()
    part = head(dropout=0.5).train()
    assert part.hidden is not None
    torch.manual_seed(3)
    got = part(tokens, {}).point
    torch.manual_seed(3)
    hidden = F.gelu(part.hidden(torch.where(tokens.mask[..., None], tokens.x, 0.0)))
    torch.testing.assert_close(got, part.project(F.dropout(hidden, 0.5)).transpose(1, 2))


def test_film_without_a_width_has_a_layer_as_wide_as_the_tokens() -> None:
    assert head(hidden=0, film=True).hidden.weight.shape == (19, 19)  # type: ignore[union-attr]
    alone = SCHEMA.with_widths({"series": 19})
    assert set(head(hidden=0, film=True, schema=alone).state_dict()) == set(head(hidden=19).state_dict())


LEVELS = (0.05, 0.2, 0.5, 0.8, 0.95)
ASKED = replace(SCHEMA, quantiles=LEVELS)


@torch.no_grad()
def test_the_quantiles_are_the_median_and_sums_of_softplus_and_never_cross() -> None:
    tokens, context = streams()
    for part in (head(schema=ASKED), head(schema=ASKED, hidden=0), head(schema=ASKED, film=True)):
        found = part(tokens, context)
        got, kept = found.parts[QUANTILES], []
        assert got.shape == (3, 13, 3, 5)
        assert (got.diff(dim=-1) > 0).all()
        assert torch.equal(got[..., 2], found.point)
        part.spread.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out))  # type: ignore[union-attr]
        part(tokens, context)
        s = kept[0].reshape(3, 3, 13, 4).transpose(1, 2).exp().add(1).log()
        want = [-(s[..., 0] + s[..., 1]), -s[..., 1], 0 * s[..., 0], s[..., 2], s[..., 2] + s[..., 3]]
        torch.testing.assert_close(got - found.point[..., None], torch.stack(want, dim=-1))


def test_what_a_point_model_starts_from_is_untouched_and_the_spread_starts_normal() -> None:
    tokens, context = streams()
    plain, asked = head(fresh=True, film=True), head(fresh=True, film=True, schema=ASKED)
    held = asked.state_dict()
    assert set(held) - set(plain.state_dict()) == {"spread.weight", "spread.bias"}
    assert all(torch.equal(values, held[name]) for name, values in plain.state_dict().items())
    assert plain(tokens, context).parts == {}
    apart = asked(tokens, context).parts[QUANTILES][0, 0, 0] - asked(tokens, context).point[0, 0, 0]
    want = torch.tensor([NormalDist().inv_cdf(level) for level in LEVELS], dtype=torch.float64)
    torch.testing.assert_close(apart.detach(), want, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_the_spread_starts_from_the_residuals_of_each_step() -> None:
    part = head(fresh=True, hidden=0, schema=ASKED)
    maker = torch.Generator().manual_seed(5)
    residuals = torch.randn(997, 13, generator=maker, dtype=torch.float64) * torch.arange(1, 14)
    residuals[::3, 4] = math.nan
    residuals[:, 6] = math.nan
    part.start_from(residuals)
    tokens, _ = streams()
    found = part(tokens, {})
    apart = (found.parts[QUANTILES] - found.point[..., None])[0, :, 0]
    want = residuals.nanquantile(torch.tensor(LEVELS, dtype=torch.float64), dim=0).T
    want[:, 2] = 0.0
    want[6] = torch.tensor([NormalDist().inv_cdf(level) for level in LEVELS])
    torch.testing.assert_close(apart, want, atol=1e-5, rtol=1e-5)


def test_the_head_of_quantiles_holds_the_contract() -> None:
    check_head(ForecastConfig(), replace(head_schema(), quantiles=(0.1, 0.5, 0.9)))
    check_head(ForecastConfig(), replace(head_schema(), quantiles=(0.1, 0.5, 0.9)), dtype=torch.bfloat16, graphs=False)
