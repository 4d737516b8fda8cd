"""`calf`: its losses against formulas, the branch that is asked, what learns, what starts where, what is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Batch, Output, Tokens
from plait.models.calf import Calf, CalfConfig, TextBranch
from plait.nn.language_model import LanguageBlocks, principal_words

SCHEMA = Schema("series", {"series": 3}, tuple("abc"), lookback=23, horizon=5)
SMALL: dict[str, Any] = {
    "gpt_layers": 2, "dim": 12, "heads": 3, "words": 7, "patch": {"length": 5, "stride": 3}, "dropout": 0.0,
    "lora": {"r": 2, "dropout": 0.0},
}  # fmt: skip
ROWS, COUNT = 4, 8
SIZE = {"n_layer": 3, "n_embd": 12, "n_head": 3, "n_positions": 31, "initializer_range": 0.3}


def build(seed: int = 3, opened: bool = True, schema: Schema = SCHEMA, **fields: Any) -> Calf:
    """The model; every parameter that learns is moved, so that updates that start at nothing are something."""
    torch.manual_seed(seed)
    model = CalfConfig.model_validate({**SMALL, **fields}).build(schema)
    for parameter in model.parameters() if opened else ():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def inputs() -> dict[str, Tensor]:
    """Row 0 is whole, the others have gaps; a variate of row 2 has no value at all."""
    maker = torch.Generator().manual_seed(1)
    mask = torch.rand(ROWS, 23, 3, generator=maker) < 0.8
    mask[0], mask[2, :, 1] = True, False
    return {"series": torch.randn(ROWS, 23, 3, generator=maker), "series_mask": mask}


def run(model: Calf, given: dict[str, Tensor], explain: bool = False) -> Output:
    return cast(Output, model(Batch(given, {}, {}), explain))


def decay(alpha: float, n: int = COUNT) -> Tensor:
    """-alpha ln(1 + dt), and nothing of the future."""
    dt = torch.arange(n)[:, None] - torch.arange(n)
    return torch.where(dt >= 0, -alpha * torch.log1p(dt.clamp(min=0).double()), -1e30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 with more words than its width."""
    place = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config(vocab_size=29, bos_token_id=0, eos_token_id=0, **SIZE)).save_pretrained(place)
    return place


# --- what is computed


def blocks_of(blocks: LanguageBlocks, x: Tensor, mask: Tensor | None) -> list[Tensor]:
    """The states by transformers itself; without a mask it is causal."""
    asked = None if mask is None else mask[None, None]
    found = blocks.model(inputs_embeds=x, attention_mask=asked, output_hidden_states=True).hidden_states
    return list(found[1:])


def heard(text: TextBranch, x: Tensor) -> Tensor:
    """Every token asks every word, head by head."""
    match, out = text.match, []
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)
        q = x @ match.query.weight[own].T + match.query.bias[own]
        k, v = text.words @ match.key.weight[own].T, text.words @ match.value.weight[own].T + match.value.bias[own]
        out.append(torch.softmax(q @ k.T / 2, dim=-1) @ v)
    return torch.cat(out, dim=-1) @ match.out.weight.T + match.out.bias


@torch.no_grad()
def test_the_forecast_and_the_losses_are_the_formulas() -> None:
    model, given = build(output_w=0.7, feature_w=0.3, bias={"alpha": 0.5}).double(), inputs()
    given = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    x, mask = given["series"].numpy(), given["series_mask"].numpy()
    seen = np.where(mask, x, np.nan)
    seen[2, :, 1] = 0.0  # of no meaning
    shift, scale = np.nanmean(seen, axis=1), np.sqrt(np.nanvar(seen, axis=1) + 1e-5)
    shift[2, 1], scale[2, 1] = 0.0, 1.0
    values = torch.from_numpy((x - shift[:, None]) / scale[:, None])
    assert model.patches is not None and model.text is not None  # noqa: PT018
    tokens = model.patches(values, given["series_mask"]).flatten(0, 1)
    assert tokens.shape == (ROWS * 3, COUNT, 12)

    def answer(states: Tensor) -> np.ndarray:
        whole = states.reshape(ROWS, 3, COUNT * 12).numpy()
        project = cast(Any, model.head).project
        whole[2, 1] = 0.0
        point = whole @ project.weight.numpy().T + project.bias.numpy()
        return point.transpose(0, 2, 1) * scale[:, None] + shift[:, None]

    time = blocks_of(cast(LanguageBlocks, model.time), tokens, decay(0.5))
    asked = heard(model.text, tokens)
    text = blocks_of(model.text.blocks, asked, None)
    forecast, other = answer(time[-1] + tokens), answer(text[-1] + asked)
    np.testing.assert_allclose(run(model, given).prediction.point.numpy(), forecast, rtol=1e-5, atol=1e-6)
    found = run(model.train(), given)
    np.testing.assert_allclose(found.prediction.point.numpy(), forecast, rtol=1e-5, atol=1e-6)

    present = mask.any(axis=1)
    assert present.sum() == 11
    output = 0.7 * (np.abs(forecast - other) * present[:, None]).mean(axis=(1, 2)).sum()
    layers = []
    for layer, weight in ((0, 0.8), (1, 1.0)):
        one, two = model.text.of_time[layer](time[layer]), model.text.of_text[layer](text[layer])
        layers.append(weight * (one - two).abs().mean(dim=(1, 2)).reshape(ROWS, 3).numpy())
    feature = 0.3 * (sum(layers) * present).mean(axis=1).sum()
    assert found.losses.keys() == {"output", "feature"}
    for name, want in (("output", output), ("feature", feature)):
        assert float(found.losses[name][0]) == pytest.approx(want, rel=1e-5)
        assert float(found.losses[name][1]) == ROWS


@torch.no_grad()
@pytest.mark.parametrize("axis", ["patch", "variate"])
def test_a_variate_without_a_value_adds_nothing_to_the_losses(axis: str) -> None:
    model = build(token_axis=axis, bias={"kind": "causal"}).train()
    given = {name: tensor[2:3] for name, tensor in inputs().items()}
    full = dict(given, series_mask=torch.ones_like(given["series_mask"]))
    none = dict(given, series_mask=torch.zeros_like(given["series_mask"]))
    assert all(float(total) > 0 for total, _ in run(model, full).losses.values())
    for total, count in run(model, none).losses.values():
        assert (float(total), float(count)) == (0, 1)
    point = run(model.eval(), none).prediction.point
    assert torch.equal(point, point[:, :, :1].expand_as(point))


@torch.no_grad()
def test_losses_in_training_are_sums_of_what_each_row_adds() -> None:
    model, given = build().train(), inputs()
    each = [run(model, {name: tensor[row : row + 1] for name, tensor in given.items()}).losses for row in range(ROWS)]
    for name, (total, count) in run(model, given).losses.items():
        torch.testing.assert_close(total, torch.stack([one[name][0] for one in each]).sum())
        assert float(count) == ROWS


@torch.no_grad()
def test_the_forecast_is_the_time_branchs_and_the_text_branch_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = build(), inputs()
    want = run(model, given).prediction.point
    assert model.text is not None
    for parameter in model.text.parameters():
        parameter.add_(1.0)
    model.text.words.fill_(torch.nan)
    output = run(model, given)
    assert torch.equal(output.prediction.point, want)
    assert output.losses == {}
    assert torch.equal(run(model.train(), given).prediction.point, want)

    def refuses(x: Tensor) -> Any:
        raise AssertionError("the text branch is run")

    monkeypatch.setattr(model.text, "forward", refuses)
    assert torch.equal(run(model.eval(), given).prediction.point, want)
    with pytest.raises(AssertionError, match="is run"):
        run(model.train(), given)


def tokens_of(model: Calf, given: dict[str, Tensor]) -> Tensor:
    """What the head answers from. Shape: (b, v, n, d)."""
    held: list[Tensor] = []

    def hold(_: Any, asked: tuple[Tokens, Any]) -> None:
        held.append(asked[0].x)

    hook = model.head.register_forward_pre_hook(hold)
    with torch.no_grad():
        run(model, given)
    hook.remove()
    return held[0].unflatten(-1, (COUNT, -1))


@pytest.mark.parametrize("backbone", ["random", "patch"])
@pytest.mark.parametrize("kind", ["power_law", "causal", "window", "butterworth", "stretched", "none"])
def test_a_change_changes_nothing_before_it(kind: str, backbone: str) -> None:
    model, given = build(backbone=backbone, scaling="none", bias={"kind": kind}), inputs()
    given["series_mask"][:] = True
    before = tokens_of(model, given)
    for step in (0, 9, 11, 22):
        changed = given | {"series": given["series"].clone()}
        changed["series"][:, step] += 3
        first = max(0, -(-(step - 4) // 3))  # patch i holds the steps 3 i to 3 i + 4
        moved = (tokens_of(model, changed) != before).flatten(3).any(dim=3)
        assert bool(moved[:, :, first:].any(dim=2).all())
        assert bool(moved[:, :, :first].any()) == (kind == "none" and first > 0), step


# --- what learns


def test_everything_that_learns_has_a_gradient_and_nothing_else() -> None:
    """Low-rank updates start at nothing, so their first factors learn from the second step on."""
    model, given = build(opened=False).train(), inputs()
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parts = {name.split(".")[0] + "." + name.split(".")[1] for name in learning}
    assert parts == {
        "patches.embed", "patches.missing", "time.model", "head.project", "text.blocks", "text.match", "text.of_time",
        "text.of_text",
    }  # fmt: skip
    assert {n for n in learning if n.startswith("text.blocks")} == {"text.blocks.model.wpe.weight"}
    steps = torch.optim.SGD(learning.values(), lr=1e-2)
    for step in range(2):
        steps.zero_grad()
        output = run(model, given)
        loss = (output.prediction.point - 1).square().mean() + sum(total for total, _ in output.losses.values())
        cast(Tensor, loss).backward()
        for name, parameter in model.named_parameters():
            moved = parameter.grad is not None and bool(parameter.grad.any())
            assert moved == (name in learning and (step == 1 or "lora_A" not in name)), (step, name)
        steps.step()


def learning_of(model: Calf) -> set[str]:
    """The words of the names of the time branch's parameters that learn."""
    return {word for n, p in model.time.named_parameters() if p.requires_grad for word in n.split(".")}


def test_random_attention_learns_whole_and_only_where_it_is_asked_for() -> None:
    plain, whole = learning_of(build()), learning_of(build(attn_train="whole"))
    assert {"lora_A", "lora_B", "ln_1", "ln_f", "wpe"} <= plain
    assert "c_proj" not in plain
    assert {"c_attn", "c_proj", "ln_1", "wpe"} <= whole
    assert not {"lora_A", "mlp"} & whole
    assert learning_of(build(attn_init="random")) == whole
    with pytest.raises(ValidationError, match="attn_train: random attention under low-rank updates alone would stay"):
        build(attn_init="random", attn_train="lora")


def test_without_weights_of_its_losses_there_is_no_text_branch() -> None:
    model = build(output_w=0, feature_w=0)
    assert model.text is None
    assert run(model.train(), inputs()).losses == {}
    one = build(feature_w=0)
    assert not [name for name, _ in one.named_parameters() if "text.of_" in name]
    assert run(one.train(), inputs()).losses.keys() == {"output"}
    assert run(build(output_w=0).train(), inputs()).losses.keys() == {"feature"}


# --- where it starts


def test_a_model_is_a_function_of_the_seed_alone() -> None:
    first, again, other = (build(seed, opened=False).state_dict() for seed in (3, 3, 5))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    differing = {name for name, value in first.items() if not torch.equal(value, other[name])}
    assert {"patches.embed.weight", "head.project.weight", "text.words", "text.match.query.weight"} <= differing
    assert any("c_attn" in name for name in differing)


@pytest.mark.parametrize("weights", [{"output_w": 0.0}, {"feature_w": 0.0}, {"output_w": 0.0, "feature_w": 0.0}])
def test_the_weights_of_losses_leave_the_start_of_the_time_branch(weights: dict[str, float]) -> None:
    aligned, other = (build(opened=False, **fields).state_dict() for fields in ({}, weights))
    own = {name for name in aligned if not name.startswith("text.")}
    assert own == {name for name in other if not name.startswith("text.")}
    assert all(torch.equal(aligned[name], other[name]) for name in own)


@pytest.mark.parametrize("attention", ["pretrained", "random"])
def test_both_branches_start_from_the_folder(attention: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(opened=False, backbone=str(folder), attn_init=attention)
    facts = model.start(cast(Any, None))["backbone"]
    given = GPT2LMHeadModel.from_pretrained(folder).transformer
    want = given.state_dict()
    assert model.text is not None
    time, text = cast(LanguageBlocks, model.time), model.text.blocks
    for branch, blocks in (("time", time), ("text", text)):
        for name, value in blocks.model.state_dict().items():
            plain = name.replace(".base_layer", "")
            if "lora_" in name or name == "wte.weight":
                continue
            kept = attention == "pretrained" or branch == "text" or ".attn." not in name or name.endswith("bias")
            assert torch.equal(value, want[plain]) is kept, (branch, name)
    assert torch.equal(model.text.words, principal_words(given.wte.weight, 7))
    for name, branch_of in (("time", model.time), ("text", model.text)):
        learn, frozen = (
            sum(p.numel() for p in branch_of.parameters() if p.requires_grad is on) for on in (True, False)
        )
        assert facts[name] == {"learn": learn, "frozen": frozen}
    assert facts["text"]["frozen"] == sum(p.numel() for p in text.parameters()) - 31 * 12
    assert (facts["from"], facts["layers"]) == (str(folder), 2)
    assert facts["adapted"] == (2 if attention == "pretrained" else 0)
    said = capsys.readouterr().out
    assert f"time branch: {facts['time']['learn']:,} values learn, {facts['time']['frozen']:,} are frozen" in said


def test_both_branches_start_from_the_same_blocks_without_weights() -> None:
    model = build(opened=False)
    assert isinstance(model.time, LanguageBlocks)
    assert model.text is not None
    time = {name.replace(".base_layer", ""): value for name, value in model.time.model.state_dict().items()}
    text = model.text.blocks.model.state_dict()
    assert set(text) <= set(time)
    for name, value in text.items():
        assert torch.equal(time[name], value), name


def test_a_resolved_config_needs_no_folder(folder: Path) -> None:
    config = CalfConfig.model_validate({**SMALL, "backbone": str(folder)}).resolve(SCHEMA)
    kept = CalfConfig.model_validate({**config.model_dump(mode="json"), "backbone": "gone/gpt2"})
    torch.manual_seed(3)
    model = kept.build(SCHEMA)
    assert model.state_dict().keys() == build(backbone=str(folder)).state_dict().keys()
    assert (cast(LanguageBlocks, model.time).positions, model.config.architecture) == (31, config.architecture)


def test_a_backbone_without_weights_says_so_and_one_of_patches_has_none() -> None:
    assert ["random" in words for words in CalfConfig().notices(SCHEMA)] == [True]
    assert CalfConfig(backbone="patch").notices(SCHEMA) == []
    assert CalfConfig(backbone="some/model").notices(SCHEMA) == []
    model = build(backbone="patch")
    assert model.text is None
    assert not [part for part in model.modules() if isinstance(part, LanguageBlocks)]
    assert model.start(cast(Any, None))["backbone"]["from"] == "patch"


def test_patches_alone_import_no_transformers() -> None:
    lines = [
        "import sys, torch",
        "from plait.core.schema import Schema",
        "from plait.core.tokens import Batch",
        "from plait.models.calf import CalfConfig",
        "schema = Schema('series', {'series': 3}, ('a', 'b', 'c'), lookback=23, horizon=5)",
        "model = CalfConfig(backbone='patch', gpt_layers=1, dim=8, heads=2).build(schema)",
        "values = torch.randn(2, 23, 3)",
        "model(Batch({'series': values, 'series_mask': values < 9}, {}, {}))",
        "print(sorted({'transformers', 'peft'} & set(sys.modules)))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


# --- what is refused


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"token_axis": "variate"}, "'power_law' over variates would decay over the order of the columns.*no time"),
        ({"token_axis": "variate", "bias": {"kind": "window"}}, "'window' over variates.*bias causal or none"),
        ({"bias": {"alpha": -1}}, "alpha: -1.0 is negative"),
        ({"bias": {"alpha": [1.0, -0.5, 2.0]}}, "is negative"),
        ({"output_w": -1}, "output_w"),
        ({"gpt_layers": 0}, "gpt_layers"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CalfConfig.model_validate({**SMALL, **fields})


@pytest.mark.parametrize("kind", ["causal", "none"])
def test_variates_are_tokens_without_a_decay(kind: str) -> None:
    model = build(token_axis="variate", bias={"kind": kind})
    assert run(model, inputs()).prediction.point.shape == (ROWS, 5, 3)
    given = inputs()
    given["series"][:, :, 2] += torch.randn(23)
    moved = (run(model, given).prediction.point != run(model, inputs()).prediction.point).any(dim=(0, 1))
    assert moved.tolist() == ([False, False, True] if kind == "causal" else [True, True, True])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bias": {"alpha": [1.0, 2.0]}}, r"model\.bias\.alpha: 2 alphas for 3 heads"),
        ({"patch": {"length": 24}}, r"model\.patch\.length: a patch of 24 steps is longer than the lookback of 23"),
        ({"heads": 5}, r"model\.heads: 5 heads do not divide the width 12"),
        ({"heads": 5, "backbone": "patch"}, r"model\.heads: 5 heads do not divide the width 12"),
    ],
)
def test_what_does_not_fit_the_data_or_the_backbone_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(**fields)


def test_more_tokens_than_positions_and_more_layers_than_there_are_are_refused(folder: Path) -> None:
    many = Schema("series", {"series": 3}, tuple("abc"), lookback=200, horizon=5)
    with pytest.raises(ConfigError, match=r"67 tokens are more than the backbone's 31 positions.*longer stride"):
        build(schema=many, backbone=str(folder), patch={"length": 3, "stride": 3})
    build(schema=many, backbone=str(folder), patch={"length": 14, "stride": 7})
    with pytest.raises(ConfigError, match="the backbone has 3 layers, 4 are asked for"):
        build(backbone=str(folder), gpt_layers=4)


# --- what it looked at


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["random", "patch"])
def test_maps_are_of_the_batchs_rows_and_weigh_by_the_power_law(backbone: str) -> None:
    """A weight is e^(q k) (1 + dt)^-alpha, shared out: what plain causal attention has, times the decay."""
    given, alphas = inputs(), [0.5, 1.0, 2.0]
    model, plain = build(backbone=backbone, bias={"alpha": alphas}), build(backbone=backbone, bias={"kind": "causal"})
    output = run(model, given, explain=True)
    torch.testing.assert_close(output.prediction.point, run(model, given).prediction.point, rtol=1e-5, atol=1e-5)
    assert sorted(output.maps) == ["attention.block0", "attention.block1"]
    for found in output.maps.values():
        assert found.values.shape == (ROWS, 3 * 3, COUNT, COUNT)
        assert found.axes == ("row", "head", "series token", "series token")
        assert found.keys == (("series", COUNT),)
    first = output.maps["attention.block0"].values.unflatten(1, (3, 3))
    causal = run(plain, given, explain=True).maps["attention.block0"].values.unflatten(1, (3, 3))
    want = causal * torch.stack([decay(alpha).exp() for alpha in alphas]).float()
    torch.testing.assert_close(first, want / want.sum(dim=-1, keepdim=True), rtol=1e-4, atol=1e-6)
    # Of a row alone the maps are its own.
    alone = run(model, {name: tensor[1:2] for name, tensor in given.items()}, explain=True).maps
    torch.testing.assert_close(alone["attention.block0"].values, output.maps["attention.block0"].values[1:2])


@torch.no_grad()
def test_alpha_of_nothing_is_causal_attention_bit_for_bit() -> None:
    given = inputs()
    for backbone in ("random", "patch"):
        nothing, causal = (build(backbone=backbone, bias=bias) for bias in ({"alpha": 0.0}, {"kind": "causal"}))
        assert torch.equal(run(nothing, given).prediction.point, run(causal, given).prediction.point)


def test_a_strength_that_is_learnt_has_a_gradient_through_the_language_model() -> None:
    model = build(bias={"learn": True}).train()
    run(model, inputs()).prediction.point.square().sum().backward()
    assert model.bias.rho is not None
    assert model.bias.rho.grad is not None
    assert bool((model.bias.rho.grad != 0).all())
