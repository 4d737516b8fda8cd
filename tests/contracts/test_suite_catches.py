"""The suite itself is proven: a sound part passes, and each of its broken copies is refused by the right law."""

import doctest
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait import testing
from plait.core.config import Config, PartOf
from plait.core.schema import Schema
from plait.core.tokens import Batch, Map, Notes, Output, Prediction, Tokens, anchored
from plait.encoders.text import Text, TextConfig
from plait.heads.forecast import Forecast, ForecastConfig
from plait.models.chimera import Chimera, ChimeraConfig
from plait.nn.attention import Attention, check_heads
from plait.nn.contexts import Contexts, segments
from plait.nn.pool import masked_mean
from plait.testing import check_encoder, check_fusion, check_head, check_model, fusion
from plait.testing.attention import ATTENTION
from plait.testing.graphs import GRAPHS
from plait.testing.laws import EVERY_PART


class OperatorConfig(Config):
    """A cross-attention with a fault of choice; without one it is sound."""

    anchored: ClassVar[bool] = True
    closed: ClassVar[bool] = True
    kind: Literal["operator"] = "operator"
    fault: str = ""
    heads: int = 4
    dropout: float = 0.1

    def build(self, schema: Schema) -> "Operator":
        check_heads(schema.streams[schema.anchor], self.heads, "heads")
        return Operator(schema, self)


class TupleConfig(OperatorConfig):
    """Strict fields refuse the list that JSON makes of a tuple."""

    sizes: tuple[int, ...] = (3, 5)


class Operator(nn.Module):
    """x + Attn(x, [null ; context]), broken in one place."""

    def __init__(self, schema: Schema, config: OperatorConfig) -> None:
        super().__init__()
        self.anchor, self.dim, self.fault = schema.anchor, schema.streams[schema.anchor], config.fault
        self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
        if self.fault != "no null token":
            self.null = nn.Parameter(torch.randn(1, 1, self.dim) * 0.02)
        self.attention = Attention(self.dim, config.heads, dropout=config.dropout, zero_out=self.fault != "starts open")
        self.drop = nn.Dropout(config.dropout)
        if self.fault == "parameter never used":
            self.idle = nn.Linear(3, 5)
        if self.fault == "layer in a list":
            self.hidden = [nn.Linear(self.dim, self.dim)]
        if self.fault == "two zero factors":
            self.gate = nn.Parameter(torch.zeros(self.dim))
        if self.fault == "batch norm":
            self.batch_norm = nn.BatchNorm1d(self.dim, affine=False)
        if self.fault == "update without context":
            self.attention.out.bias = nn.Parameter(torch.zeros(self.dim))

    def forward(self, streams: Mapping[str, Tokens], notes: Notes | None = None) -> Tokens:
        fault = self.fault
        anchor, contexts = anchored(streams, self.anchor)
        if not contexts:
            return anchor
        if fault == "multiplies by the mask":
            x, mask = streams[self.anchor]
            anchor = Tokens(x * mask[..., None], mask)
        context = self.read(streams, contexts)
        present = context.present[:, None]
        keys, mask = context
        if fault != "no null token":
            rows = len(keys) if fault == "batch size as a number" else keys.shape[0]
            keys = torch.cat([self.null.expand(rows, -1, -1), keys], dim=1)
            mask = torch.cat([present, mask], dim=1)
        query = anchor.x
        if fault == "one query for all":
            query = masked_mean(anchor)[:, None].expand_as(query)
        seen = None if fault in ("no key mask", "NaN without keys") else mask
        update, used = self.attention(query, keys, seen, weights=notes is not None and notes.explain)
        if fault == "NaN without keys":
            update = update + torch.where(present.any(dim=1), 0.0, torch.nan)[:, None, None] * 0
        update = self.change(self.drop(update), anchor, contexts, present)
        if notes is not None:
            self.keys = (("null", 1), *segments(contexts))
            self.note(notes, update, used, Tokens(anchor.x, anchor.mask & present))
        kept = anchor.x + update
        if fault not in ("update without context", "NaN without keys"):
            kept = torch.where(present[..., None], kept, anchor.x)
        if fault == "fills the absent":
            kept = torch.where(anchor.mask[..., None], kept, 1.0)
        return Tokens(kept, torch.ones_like(anchor.mask) if fault == "mask lost" else anchor.mask)

    def read(self, streams: Mapping[str, Tokens], contexts: Mapping[str, Tokens]) -> Tokens:
        """The context tokens, absent ones 0."""
        if self.fault == "mapping order":
            first = next(name for name in streams if name != self.anchor)
            contexts = {**contexts, first: Tokens(contexts[first].x * 2, contexts[first].mask)}
        joined = []
        for name, layer in self.contexts.project.items():
            if name in contexts:
                x, mask = contexts[name]
                if self.fault == "selects after the layer":
                    joined.append(Tokens(torch.where(mask[..., None], layer(x), 0.0), mask))
                    continue
                elif self.fault != "reads masked keys":
                    x = torch.where(mask[..., None], x, 0.0)
                x = layer(x)
                joined.append(Tokens(x, torch.ones_like(mask) if self.fault == "reads masked keys" else mask))
        return Tokens(torch.cat([t.x for t in joined], dim=1), torch.cat([t.mask for t in joined], dim=1))

    def change(self, update: Tensor, anchor: Tokens, contexts: Mapping[str, Tokens], present: Tensor) -> Tensor:
        """The update with the faults that act on it."""
        match self.fault:
            case "random in evaluation":
                return F.dropout(update, 0.5)
            case "batch norm":
                return update + self.batch_norm(update.transpose(1, 2)).transpose(1, 2)
            case "mean over rows":
                return update - update.mean(dim=0)
            case "divides by the rows":
                return update / update.shape[0]
            case "layer in a list":
                return update + self.hidden[0](update)
            case "two zero factors":
                return update * self.gate
            case "tensor on the CPU":
                return update + torch.zeros(self.dim, dtype=update.dtype)
            case "wider dtype":
                return update.double()
            case "branch on data":
                return update if anchor.mask.any() else update * 2
            case "divides by a presence" if "dated" in contexts:
                return update / contexts["dated"].present.to(update.dtype)[:, None, None]
            case "counts the streams":
                return update * len(contexts)
            case "share of rows":
                return update * present.to(update.dtype).mean()
            case "graph break":
                torch._dynamo.graph_break()
        return update

    def note(self, notes: Notes, update: Tensor, used: Tensor | None, changed: Tokens) -> None:
        """The mean square of the update as a loss, and the maps."""
        fault, square = self.fault, torch.where(changed.mask[..., None], update, 0.0).square()
        if fault == "loss without context":
            square = square + self.null.square().sum()
        size = square.mean(dim=(1, 2))
        notes.add_loss("size", size / size.shape[0] if fault == "loss that is a mean" else size)
        if used is not None and fault != "no map":
            notes.maps["attention"] = Map(self.show(used), ("row", "head", "token", "context token"), self.named())
        if used is not None and fault == "gate above 1":
            notes.maps["gate"] = Map(1 + torch.sigmoid(update), ("row", "token", "feature"))

    def named(self) -> tuple[tuple[str, int], ...]:
        """The keys with the faults that act on their names."""
        match self.fault:
            case "keys without names":
                return ()
            case "keys in another order":
                return tuple(reversed(self.keys))
            case "no null token":
                return self.keys[1:]
        return self.keys

    def show(self, used: Tensor) -> Tensor:
        """The map with the faults that act on it."""
        match self.fault:
            case "map not normalised":
                return used * 2
            case "map without mask":
                return torch.softmax(used * 3, dim=-1)
            case "map is NaN":
                return used / 0.0
        return used


FUSION_FAULTS = {
    "reads masked keys": "absent_content_is_never_read",
    "multiplies by the mask": "absent_content_is_never_read",
    "selects after the layer": "absent_content_never_reaches_gradients",
    "no key mask": "padding_amount_changes_nothing",
    "starts open": "closed_start",
    "no null token": "queries_and_keys_learn",
    "parameter never used": "every_parameter_learns",
    "two zero factors": "every_parameter_learns",
    "layer in a list": "state_round_trip",
    "batch norm": "rows_are_independent",
    "mean over rows": "rows_are_independent",
    "divides by the rows": "batch_mates_change_nothing",
    "random in evaluation": "eval_is_deterministic",
    "update without context": "no_context_returns_the_anchor",
    "fills the absent": "all_absent_gives_zeros",
    "mask lost": "shapes",
    "NaN without keys": "absent_rows_are_finite",
    "divides by a presence": "every_presence_is_finite",
    "counts the streams": "absent_stream_equals_one_left_out",
    "share of rows": "mixed_presence_agrees",
    "mapping order": "key_order_changes_nothing",
    "tensor on the CPU": "device_is_followed",
    "wider dtype": "dtype_is_kept",
    "branch on data": "no_branch_reads_data",
    "map is NaN": "explain_agrees",
    "map not normalised": "attention_weights_sum_to_one",
    "map without mask": "absent_keys_weigh_nothing",
    "keys without names": "absent_keys_weigh_nothing",
    "keys in another order": "absent_keys_weigh_nothing",
    "one query for all": "attention_is_shown",
    "no map": "attention_is_shown",
    "loss that is a mean": "own_losses_are_sums_over_rows",
    "loss without context": "no_context_adds_no_loss",
    "gate above 1": "gates_are_shares",
    "batch size as a number": "export_agrees",
    "graph break": "compile_agrees",
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_sound_operator_passes(dtype: torch.dtype) -> None:
    check_fusion(OperatorConfig(), dtype=dtype, graphs=dtype == torch.float32)


@pytest.mark.parametrize("fault", FUSION_FAULTS)
def test_broken_operator_is_refused_by_the_right_law(fault: str) -> None:
    with pytest.raises(AssertionError) as refusal:
        check_fusion(OperatorConfig(fault=fault))
    assert f"fusion 'operator' (float32) breaks the law {FUSION_FAULTS[fault]}: " in str(refusal.value)


def test_every_law_of_fusions_refuses_some_fault() -> None:
    laws = {law.__name__ for law in (fusion.shapes, *EVERY_PART, *fusion.FUSION, *ATTENTION, *GRAPHS)}
    assert laws == {*FUSION_FAULTS.values(), "config_round_trip"}


def test_config_that_does_not_read_back_is_refused() -> None:
    with pytest.raises(AssertionError, match="breaks the law config_round_trip"):
        check_fusion(TupleConfig())


def test_message_says_what_was_measured_and_the_tolerance() -> None:
    with pytest.raises(AssertionError, match=r"row 0 alone: x moved by [0-9.e+-]+, the tolerance is 1e-05"):
        check_fusion(OperatorConfig(fault="divides by the rows"))
    with pytest.raises(AssertionError, match=r"gradient of idle\.weight is 0, it must exceed"):
        check_fusion(OperatorConfig(fault="parameter never used"))


def test_example_of_an_own_part_runs() -> None:
    assert doctest.testmod(testing).failed == 0


def test_the_random_state_is_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    check_fusion(OperatorConfig(), graphs=False)
    assert torch.equal(torch.get_rng_state(), before)


class BrokenTextConfig(TextConfig):
    """The text encoder with a fault."""

    fault: str = ""

    def build(self, schema: Schema) -> "BrokenText":
        return BrokenText(schema.streams["text"], self)


class BrokenText(Text):
    """Broken in one place."""

    def forward(self, fields: Mapping[str, Tensor]) -> Tokens:
        fault, mask = self.fault, fields["mask"]
        if fault == "reads absent ages":
            x, mask = super().forward(fields)
            return Tokens(x + fields["age"][..., None], mask)
        if fault == "forgets the mask":
            return super().forward({**fields, "mask": torch.ones_like(mask)})
        if fault == "invents a token":
            x, mask = super().forward(fields)
            return Tokens(x, mask | ~mask.any(dim=1, keepdim=True))
        if fault == "counts padding":
            x, mask = super().forward(fields)
            return Tokens(x * mask.shape[1], mask)
        if fault == "batch mean":
            x, mask = super().forward(fields)
            return Tokens(x - x.mean(dim=0), mask)
        if fault == "wrong width":
            x, mask = super().forward(fields)
            return Tokens(x[..., 1:], mask)
        return super().forward(fields)

    def __init__(self, width: int, config: BrokenTextConfig) -> None:
        super().__init__(width, config)
        self.fault = config.fault


@pytest.mark.parametrize(
    "fault, broken",
    [
        ("reads absent ages", "absent_content_is_never_read"),
        ("forgets the mask", "shapes"),
        ("counts padding", "padding_amount_changes_nothing"),
        ("invents a token", "all_absent_is_masked"),
        ("batch mean", "rows_are_independent"),
        ("wrong width", "shapes"),
    ],
)
def test_broken_encoder_is_refused_by_the_right_law(fault: str, broken: str) -> None:
    with pytest.raises(AssertionError, match=rf"encoder 'text' \(float32\) breaks the law {broken}: "):
        check_encoder(BrokenTextConfig(fault=fault, dim=8), graphs=False)


class BrokenHeadConfig(ForecastConfig):
    """The forecast head with a fault."""

    fault: str = ""

    def build(self, schema: Schema) -> "BrokenHead":
        head = BrokenHead(schema.streams[schema.anchor], schema.horizon, self.dropout)
        head.fault = self.fault
        return head


class BrokenHead(Forecast):
    """Broken in one place."""

    fault: str

    def forward(self, tokens: Tokens, context: Mapping[str, Tokens]) -> Prediction:
        if self.fault == "reads absent tokens":
            return Prediction(self.project(tokens.x).transpose(1, 2))
        point = super().forward(tokens, context).point
        if self.fault == "counts the contexts":
            return Prediction(point + len(context))
        if self.fault == "time first":
            return Prediction(point.transpose(0, 1))
        return Prediction(point)


@pytest.mark.parametrize(
    "fault, broken",
    [
        ("reads absent tokens", "absent_content_is_never_read"),
        ("counts the contexts", "absent_context_equals_left_out"),
        ("time first", "shapes"),
    ],
)
def test_broken_head_is_refused_by_the_right_law(fault: str, broken: str) -> None:
    with pytest.raises(AssertionError, match=rf"head 'forecast' \(float32\) breaks the law {broken}: "):
        check_head(BrokenHeadConfig(fault=fault), graphs=False)


class BrokenModelConfig(ChimeraConfig):
    """The chimera with a fault, small."""

    series: Annotated[Any, PartOf("encoders")] = {"kind": "linear", "dim": 8}
    text: Annotated[Any, PartOf("encoders")] = {"kind": "text", "dim": 8, "depth": 0}
    fault: str = ""

    def build(self, schema: Schema) -> "BrokenModel":
        small = ChimeraConfig(series=self.series, text=self.text, fusion=self.fusion)
        module = small.build(schema)
        if self.fault == "one stream of random numbers" and module.text is not None:
            nn.init.normal_(module.head.project.weight)
        return BrokenModel(module, self.fault)


TAUGHT = ("", "loss in training that is a mean")


class BrokenModel(nn.Module):
    """Broken in one place."""

    anchor = "series"

    def __init__(self, inner: Chimera, fault: str) -> None:
        super().__init__()
        self.inner, self.fault = inner, fault
        self.required = () if fault == "requires nothing" else inner.required
        if fault == "leg without gradient":
            self.leg = nn.Linear(1, 1)
        if fault in TAUGHT:
            self.teacher = nn.Linear(1, 1)

    def forward(self, batch: Batch, explain: bool = False) -> Output:
        output = self.inner(batch, explain)
        point = output.prediction.point
        match self.fault:
            case "reads info" if batch.info:
                point = point + batch.info["row"].mean()
            case "text present at all" if "text" in batch.inputs:
                point = point + 1e-6
            case "explains something else" if explain:
                point = point * 1.01
            case "leg without gradient":
                point = point + self.leg(point[..., :1]).detach()
            case "reads the order of rows":
                point = point + torch.arange(point.shape[0]).to(point)[:, None, None]
            case "time first":
                point = point.transpose(0, 1)
        losses = dict(output.losses)
        if self.fault in TAUGHT and self.training:
            apart = (self.teacher(point[..., :1]) - 1).square().mean(dim=(1, 2))
            losses["taught"] = apart.mean() if "mean" in self.fault else apart.sum(), torch.ones_like(apart).sum()
        return Output(Prediction(point), losses, output.maps)


def test_the_sound_model_passes() -> None:
    check_model(BrokenModelConfig(), graphs=False)


@pytest.mark.parametrize(
    "fault, broken",
    [
        ("requires nothing", "shapes"),
        ("time first", "shapes"),
        ("reads info", "forward_reads_inputs_alone"),
        ("text present at all", "row_without_context_equals_run_without"),
        ("explains something else", "explain_agrees"),
        ("leg without gradient", "every_parameter_learns"),
        ("loss in training that is a mean", "own_losses_are_sums_over_rows"),
        ("one stream of random numbers", "closed_start"),
        ("reads the order of rows", "batch_mates_change_nothing"),
    ],
)
def test_broken_model_is_refused_by_the_right_law(fault: str, broken: str) -> None:
    with pytest.raises(AssertionError, match=rf"model 'chimera' \(float32\) breaks the law {broken}: "):
        check_model(BrokenModelConfig(fault=fault), graphs=False)


def test_a_check_of_batches_that_lets_anything_pass_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "check", lambda self, required: None)
    with pytest.raises(AssertionError, match="breaks the law bad_batch_is_refused: a batch without series passes"):
        check_model(BrokenModelConfig(), graphs=False)
