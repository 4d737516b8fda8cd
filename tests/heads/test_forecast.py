"""Tests of the forecast head: its hidden layer, and the context that modulates it."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from plait.core.schema import Schema
from plait.core.tokens import Tokens
from plait.heads.forecast import Forecast, ForecastConfig

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
