"""Each fusion operator against its formula, written out token by token."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.errors import ConfigError, DataError
from plait.core.kinds import config_class
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens

D, HEADS = 20, 4
SCHEMA = Schema("series", {"series": D, "dated": 13, "tabular": 17})
Weights = dict[str, Tensor]


def part(kind: str, **fields: object) -> nn.Module:
    """An operator in float64 with every weight random, its closed factor too."""
    torch.manual_seed(0)
    module = config_class("fusion", kind)(**fields).build(SCHEMA).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


def streams() -> dict[str, Tokens]:
    """Row 0 is full, row 1 lacks some tokens, row 2 has no context at all; what is absent is NaN."""
    maker = torch.Generator().manual_seed(1)
    out = {}
    for name, count in (("tabular", 11), ("series", 5), ("dated", 7)):
        x = torch.randn(3, count, SCHEMA.streams[name], generator=maker, dtype=torch.float64)
        mask = torch.rand(3, count, generator=maker) < 0.5
        mask[0] = True
        mask[2] = name == "series"
        out[name] = Tokens(torch.where(mask[..., None], x, math.nan), mask)
    return out


def context_tokens(weights: Weights, row: int) -> list[Tensor]:
    """The present context tokens of a row, each through the projection of its stream, in the order of names."""
    tokens = []
    for name in ("dated", "tabular"):
        matrix, bias = weights[f"contexts.project.{name}.weight"], weights[f"contexts.project.{name}.bias"]
        x, mask = streams()[name]
        tokens += [matrix @ x[row, i] + bias for i in range(x.shape[1]) if mask[row, i]]
    return tokens


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def add(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return x + w["update.weight"] @ (sum(context) / len(context)) + w["update.bias"]


def low_rank(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    waist = w["down.weight"] @ torch.cat([x, sum(context) / len(context)]) + w["down.bias"]
    assert len(waist) == 3
    return x + w["up.weight"] @ waist


def concat_seed(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return w["mix.weight"] @ torch.cat([x, sum(context) / len(context)]) + w["mix.bias"]


def concat(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return x + concat_seed(x, context, w)


def attention_weights(query: Tensor, keys: list[Tensor], w: Weights, name: str = "attention") -> Tensor:
    """The weights (h, m) of one query over keys, all as the attention is given them."""
    asked = w[f"{name}.query.weight"] @ query + w[f"{name}.query.bias"]
    width = len(asked) // HEADS
    rows = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = [float(asked[part] @ (w[f"{name}.key.weight"][part] @ key)) / math.sqrt(width) for key in keys]
        top = max(scores)
        shares = torch.tensor([math.exp(s - top) for s in scores], dtype=torch.float64)
        rows.append(shares / shares.sum())
    return torch.stack(rows)


def attend(query: Tensor, keys: list[Tensor], w: Weights, name: str = "attention") -> Tensor:
    """What one query gets from the keys."""
    shares = attention_weights(query, keys, w, name)
    mixed = torch.zeros_like(w[f"{name}.value.bias"])
    width = len(mixed) // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        for share, key in zip(shares[head], keys, strict=True):
            mixed[part] += share * (w[f"{name}.value.weight"][part] @ key + w[f"{name}.value.bias"][part])
    return w[f"{name}.out.weight"] @ mixed + w.get(f"{name}.out.bias", torch.tensor(0.0))


def null_and(context: list[Tensor], w: Weights) -> list[Tensor]:
    return [w["null"][0, 0], *(norm(c, w, "norm_key") for c in context)]


def cross_attention(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    return x + attend(norm(x, w, "norm_query"), null_and(context, w), w)


def cross_attention_feed_forward(x: Tensor, context: list[Tensor], w: Weights) -> Tensor:
    y = cross_attention(x, context, w)
    inner = w["feed_forward.up.weight"] @ norm(y, w, "norm_feed") + w["feed_forward.up.bias"]
    return y + w["feed_forward.down.weight"] @ F.gelu(inner)


def film(x: Tensor, context: list[Tensor], w: Weights, hidden: int = D) -> Tensor:
    assert len(w["film.up.bias"]) == hidden
    out = layers(sum(context) / len(context), w, "film", F.gelu)
    return torch.stack([(1 + out[i]) * x[i] + out[D + i] for i in range(D)])


FORMULAS: dict[str, tuple[str, dict[str, object], Callable[[Tensor, list[Tensor], Weights], Tensor]]] = {
    "none": ("none", {}, lambda x, context, w: x),
    "add": ("add", {}, add),
    "concat": ("concat", {}, concat),
    "concat, seed": ("concat", {"form": "seed"}, concat_seed),
    "film": ("film", {}, film),
    "film, hidden": ("film", {"hidden": 23}, lambda x, context, w: film(x, context, w, 23)),
    "low_rank": ("low_rank", {"rank": 3}, low_rank),
    "cross_attention": ("cross_attention", {"heads": HEADS}, cross_attention),
    "cross_attention, hidden": ("cross_attention", {"heads": HEADS, "hidden": 23}, cross_attention_feed_forward),
}


@torch.no_grad()
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("explain", [False, True])
def test_operator_equals_its_formula(name: str, explain: bool) -> None:
    kind, fields, formula = FORMULAS[name]
    module, given = part(kind, **fields), streams()
    weights = dict(module.named_parameters())
    x, mask = module(given, Notes(explain=True) if explain else None)
    assert torch.equal(mask, given["series"].mask)
    assert torch.isfinite(x).all()
    for row in range(3):
        context = context_tokens(weights, row) if weights else []
        for i in range(5):
            if mask[row, i]:
                anchor = given["series"].x[row, i]
                want = formula(anchor, context, weights) if context else anchor
                torch.testing.assert_close(x[row, i], want, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_attention_map_equals_the_formula_and_names_its_axes() -> None:
    module, given = part("cross_attention", heads=HEADS), streams()
    weights = dict(module.named_parameters())
    notes = Notes(explain=True)
    module(given, notes)
    values, axes, keys = notes.maps["attention"]
    assert values.shape == (3, HEADS, 5, 1 + 7 + 11)
    assert (axes, keys) == (
        ("row", "head", "series token", "null + dated + tabular token"),
        (("null", 1), ("dated", 7), ("tabular", 11)),
    )
    present = torch.cat([torch.ones(3, 1, dtype=torch.bool), given["dated"].mask, given["tabular"].mask], dim=1)
    for row in (0, 1):
        assert (values[row][..., ~present[row]] == 0).all()
        for i in range(5):
            if given["series"].mask[row, i]:
                query = norm(given["series"].x[row, i], weights, "norm_query")
                want = attention_weights(query, null_and(context_tokens(weights, row), weights), weights)
                torch.testing.assert_close(values[row, :, i, present[row]], want, atol=1e-10, rtol=1e-10)
    assert (values[2] == 0).all()


@torch.no_grad()
def test_null_token_of_value_0_lets_a_position_decline() -> None:
    module, given = part("cross_attention", heads=HEADS), streams()
    module.norm_query.weight.zero_()
    module.norm_query.bias.fill_(1.0)
    module.attention.query.weight.copy_(torch.eye(D))
    module.attention.query.bias.zero_()
    module.attention.key.weight.copy_(torch.eye(D))
    module.null.fill_(1e3)
    module.attention.value.bias.zero_()
    module.attention.value.weight[:, :].zero_()
    notes = Notes(explain=True)
    x, mask = module(given, notes)
    assert notes.maps["attention"].values[:2, ..., 0].min() > 1 - 1e-9
    assert torch.equal(x[mask], given["series"].x[mask])


LATENT = {"latent_dim": 28, "heads": HEADS, "gate_hidden": 23, "depth": 1}


def latent_gate(tokens: list[Tensor], context: list[Tensor], w: Weights, fields: dict[str, Any]) -> list[Any]:
    """(fused token, gate) of each present anchor token of a row, with one block or none after the attention."""
    queries = [norm(x, w, "norm_query") for x in tokens]
    latents = [attend(query, null_and(context, w), w) for query in queries]
    if fields["depth"]:
        block = "blocks.blocks.0"
        seen = [norm(z, w, f"{block}.norm1") for z in latents]
        latents = [z + attend(own, seen, w, f"{block}.attention") for z, own in zip(latents, seen, strict=True)]
        latents = [z + layers(norm(z, w, f"{block}.norm2"), w, f"{block}.feed_forward", F.gelu) for z in latents]
        latents = [norm(z, w, "blocks.norm") for z in latents]
    out = []
    for x, query, z in zip(tokens, queries, latents, strict=True):
        given = torch.cat([z, query])
        match fields["gate"]:
            case "mlp":
                inner = F.gelu(w["gate.score.0.weight"] @ given + w["gate.score.0.bias"])
                logit = w["gate.score.2.weight"] @ inner + w["gate.score.2.bias"]
            case "global_scalar":
                logit = w["gate.logit"]
            case _:
                logit = w["gate.score.weight"] @ given + w["gate.score.bias"]
        assert logit.shape == (1 if "scalar" in fields["gate"] else D,)
        gate, update = 1 / (1 + torch.exp(-logit)), layers(z, w, "", F.gelu)
        out.append((x + gate * update if fields["form"] == "residual" else gate * update + (1 - gate) * x, gate))
    return out


def layers(x: Tensor, w: Weights, name: str, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Two linear layers, `up` and `down`."""
    at = f"{name}." if name else ""
    inner = activation(w[f"{at}up.weight"] @ x + w[f"{at}up.bias"])
    return w[f"{at}down.weight"] @ inner + w.get(f"{at}down.bias", torch.tensor(0.0))


@torch.no_grad()
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("form", ["residual", "convex"])
@pytest.mark.parametrize("gate", ["mlp", "linear", "token_scalar", "global_scalar"])
def test_latent_gate_equals_its_formula(gate: str, form: str, depth: int) -> None:
    fields = {**LATENT, "gate": gate, "form": form, "depth": depth}
    module, given, notes = part("latent_gate", **fields), streams(), Notes(explain=True)
    weights = dict(module.named_parameters())
    x, mask = module(given, Notes())
    shown = module(given, notes).x
    gates, axes, _ = notes.maps["gate"]
    assert axes == ("row", "series token", "feature")
    for row in range(3):
        present = [i for i in range(5) if mask[row, i]]
        tokens, context = [given["series"].x[row, i] for i in present], context_tokens(weights, row)
        if not context:
            assert torch.equal(x[row, present], torch.stack(tokens))
            assert (gates[row] == 0).all()
            continue
        for i, (want, share) in zip(present, latent_gate(tokens, context, weights, fields), strict=True):
            for got in (x, shown):
                torch.testing.assert_close(got[row, i], want, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(gates[row, i], share, atol=1e-10, rtol=1e-10)
        assert (gates[row][~mask[row]] == 0).all()


def test_losses_of_a_gate_by_hand() -> None:
    module, notes = part("latent_gate", **LATENT, gate="token_scalar", gate_l1=0.5, gate_entropy=0.25), Notes()
    with torch.no_grad():
        module.gate.score.weight.zero_()
        module.gate.score.bias.fill_(math.log(4))  # a gate of 4/5 for every token
    module(streams(), notes)
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    # Two of three rows have context.
    assert notes.losses["gate_l1"][0].item() == pytest.approx(2 * 0.5 * 0.8)
    assert notes.losses["gate_entropy"][0].item() == pytest.approx(2 * 0.25 * entropy)
    assert [weight.item() for _, weight in notes.losses.values()] == [3.0, 3.0]
    assert notes.maps == {}
    notes.losses["gate_l1"][0].backward()
    # d/dz of 0.5 * sigmoid(z) is 0.5 * 0.8 * 0.2 in each of the two rows.
    assert module.gate.score.bias.grad.item() == pytest.approx(2 * 0.5 * 0.8 * 0.2)


@torch.no_grad()
@pytest.mark.parametrize("gate", ["mlp", "linear", "token_scalar", "global_scalar"])
def test_losses_of_a_gate_are_means_over_present_tokens_and_features(gate: str) -> None:
    module, given = part("latent_gate", **LATENT, gate=gate, gate_l1=0.5, gate_entropy=0.25), streams()
    notes = Notes(explain=True)
    mask = module(given, notes).mask
    l1, entropy = 0.0, 0.0
    for row in (0, 1):
        gates = notes.maps["gate"].values[row, mask[row]].flatten().tolist()
        l1 += 0.5 * sum(gates) / len(gates)
        entropy += 0.25 * sum(-g * math.log(g) - (1 - g) * math.log(1 - g) for g in gates) / len(gates)
    assert notes.losses["gate_l1"][0].item() == pytest.approx(l1)
    assert notes.losses["gate_entropy"][0].item() == pytest.approx(entropy, rel=1e-5)


def test_a_gate_without_weights_has_no_loss_and_a_run_without_context_neither() -> None:
    notes = Notes()
    part("latent_gate", **LATENT)(streams(), notes)
    part("latent_gate", **LATENT, gate_l1=1.0)({"series": streams()["series"]}, notes)
    assert notes.losses == {}


def test_latent_width_and_gate_width_that_are_not_given() -> None:
    schema = Schema("series", {"series": 20, "dated": 12, "tabular": 16})
    module: Any = config_class("fusion", "latent_gate")(heads=3).build(schema)
    assert module.null.shape == (1, 1, 12)
    assert module.attention.query.weight.shape == (12, 20)
    assert module.up.weight.shape == (40, 12)
    assert module.gate.score[0].weight.shape == (40, 12 + 20)
    narrow: Any = config_class("fusion", "latent_gate")().build(Schema("series", {"series": 8, "dated": 12}))
    assert narrow.null.shape == (1, 1, 8)


def test_only_the_last_layer_of_the_projection_starts_at_zero() -> None:
    module: Any = config_class("fusion", "latent_gate")(**LATENT).build(SCHEMA)
    assert (module.down.weight == 0).all()
    assert module.down.bias is None
    zero = [name for name, p in module.named_parameters() if (p == 0).all() and "norm" not in name]
    assert zero == ["down.weight"]
    open_form: Any = config_class("fusion", "latent_gate")(**LATENT, form="convex").build(SCHEMA)
    assert (open_form.down.weight != 0).any()


def gmu(x: Tensor, means: dict[str, Tensor], w: Weights, form: str) -> tuple[Tensor, dict[str, Tensor]]:
    """(fused token, gate of each context) of one anchor token, feature by feature; `means` has the present contexts."""
    fused, gates = torch.zeros_like(x), {name: torch.zeros_like(x) for name in means}
    for i in range(D):
        logits = {}
        for name, mean in means.items():
            given = torch.cat([norm(x, w, "norm"), norm(mean, w, f"norms.{name}")])
            logits[name] = float(w[f"score.{name}.weight"][i] @ given + w[f"score.{name}.bias"][i])
        if form == "residual":
            fused[i] = x[i]
            shares = {name: 1 / (1 + math.exp(-logit)) for name, logit in logits.items()}
        else:
            total = 1 + sum(math.exp(logit) for logit in logits.values())
            fused[i] = math.tanh(float(w["own.weight"][i] @ x)) / total
            shares = {name: math.exp(logit) / total for name, logit in logits.items()}
        for name, share in shares.items():
            fused[i] += share * math.tanh(float(w[f"value.{name}.weight"][i] @ means[name]))
            gates[name][i] = share
    return fused, gates


@torch.no_grad()
@pytest.mark.parametrize("form", ["residual", "arevalo"])
@pytest.mark.parametrize("left_out", [(), ("dated",), ("tabular",), ("dated", "tabular")])
def test_gmu_equals_its_formula(form: str, left_out: tuple[str, ...]) -> None:
    module, notes = part("gmu", form=form), Notes(explain=True)
    given = {name: tokens for name, tokens in streams().items() if name not in left_out}
    if "dated" in given:  # row 1 has `tabular` alone
        given["dated"].mask[1], given["dated"].x[1] = False, math.nan
    x, mask = module(given, notes)
    assert torch.equal(x, module(given).x)
    contexts = [name for name in ("dated", "tabular") if name not in left_out]
    assert {name: found.axes for name, found in notes.maps.items()} == {
        f"gate.{name}": ("row", "series token", "feature") for name in contexts
    }
    weights, zero = dict(module.named_parameters()), torch.zeros(D, dtype=torch.float64)
    for row in range(3):
        seen = {name: given[name].x[row][given[name].mask[row]] for name in contexts}
        means = {name: sum(tokens) / len(tokens) for name, tokens in seen.items() if len(tokens)}
        assert list(means) == [name for name in contexts if row == 0 or (row == 1 and name == "tabular")]
        for i in range(5):
            anchor = given["series"].x[row, i]
            want, gates = gmu(anchor, means, weights, form) if mask[row, i] else (zero, {})
            torch.testing.assert_close(x[row, i], want, atol=1e-10, rtol=1e-10)
            for name in contexts:
                got = notes.maps[f"gate.{name}"].values[row, i]
                torch.testing.assert_close(got, gates.get(name, zero), atol=1e-10, rtol=1e-10)
                assert name in gates or (got == 0).all()


@torch.no_grad()
def test_gmu_of_one_context_is_the_unit_of_the_paper() -> None:
    module, given = part("gmu", form="arevalo"), streams()
    w, (fused, mask) = dict(module.named_parameters()), module({name: given[name] for name in ("series", "dated")})
    for row in (0, 1):
        mean = given["dated"].x[row][given["dated"].mask[row]].mean(dim=0)
        for i in range(5):
            if mask[row, i]:
                x = given["series"].x[row, i]
                # U gives the context's share, so that its negative gives the anchor's.
                both = torch.cat([norm(x, w, "norm"), norm(mean, w, "norms.dated")])
                z = torch.sigmoid(-w["score.dated.weight"] @ both - w["score.dated.bias"])
                want = z * torch.tanh(w["own.weight"] @ x) + (1 - z) * torch.tanh(w["value.dated.weight"] @ mean)
                torch.testing.assert_close(fused[row, i], want, atol=1e-10, rtol=1e-10)


def test_an_absent_anchor_stream_is_refused_by_name() -> None:
    given = streams()
    del given["series"]
    with pytest.raises(DataError, match=r"anchor stream 'series' is absent .*streams: tabular, dated"):
        part("add")(given)


def test_heads_must_divide_the_anchor_width() -> None:
    with pytest.raises(ConfigError, match=r"model\.fusion\.heads: 3 heads do not divide the width 20"):
        config_class("fusion", "cross_attention")(heads=3).build(SCHEMA)


@pytest.mark.parametrize("fields, width", [({}, 13), ({"latent_dim": 22}, 22)])
def test_heads_must_divide_the_latent_width(fields: dict[str, int], width: int) -> None:
    with pytest.raises(ConfigError, match=rf"model\.fusion\.heads: 4 heads do not divide the width {width}"):
        config_class("fusion", "latent_gate")(heads=4, **fields).build(SCHEMA)
