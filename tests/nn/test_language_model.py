"""Blocks of a language model against the model they are cut from: states, what learns, what is loaded and refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.activations import ACT2FN

from plait.core.errors import ConfigError, FileError
from plait.nn.language_model import (
    LanguageBlocks,
    LoraConfig,
    parameter_counts,
    principal_words,
    random_architecture,
    trimmed,
)

# With the usual small weights attention is nearly flat, and a wrong mask would hardly show.
SPREAD: dict[str, Any] = {"initializer_range": 0.3, "vocab_size": 13, "bos_token_id": 0, "eos_token_id": 0}
GPT2 = GPT2Config(n_layer=3, n_embd=12, n_head=3, n_positions=17, **SPREAD)
LLAMA = LlamaConfig(
    num_hidden_layers=3, hidden_size=16, intermediate_size=11, num_attention_heads=2, num_key_value_heads=1,
    max_position_embeddings=17, **SPREAD,
)  # fmt: skip
KINDS: dict[str, tuple[Any, Any, Any]] = {
    "gpt2": (GPT2, GPT2LMHeadModel, GPT2Model),
    "llama": (LLAMA, LlamaForCausalLM, LlamaModel),
}
NORMS = {"gpt2": ("ln_1", "ln_2", "ln_f"), "llama": ("input_layernorm", "post_attention_layernorm", "norm")}
MODULES = {"gpt2": 1, "llama": 3}
LAYERS = 2


def whole(kind: str) -> Any:
    """A language model with its head."""
    torch.manual_seed(3)
    model = KINDS[kind][1](KINDS[kind][0])
    for parameter in model.parameters():  # biases and norms begin as zeros and ones
        parameter.data += torch.randn_like(parameter) * 0.1
    return model.eval()


def cut(kind: str, layers: int = LAYERS) -> LanguageBlocks:
    """Random blocks of its shape."""
    torch.manual_seed(5)
    return LanguageBlocks(trimmed(KINDS[kind][0].to_dict(), layers)).eval()


def causal(n: int) -> Tensor:
    return torch.triu(torch.full((n, n), torch.finfo(torch.float32).min), 1)[None, None]


def vectors(blocks: LanguageBlocks, rows: int = 2, n: int = 7) -> Tensor:
    return torch.randn(rows, n, blocks.dim, generator=torch.Generator().manual_seed(7))


def inner(model: Any) -> Any:
    return getattr(model, "transformer", None) or model.model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each kind of model."""
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp(kind)
        whole(kind).save_pretrained(found[kind])
    return found


# --- what is built


def test_a_configuration_is_cut_to_layers_without_dropout_and_words() -> None:
    asked = GPT2.to_dict() | {"attn_pdrop": 0.1, "resid_pdrop": 0.2, "embd_pdrop": 0.3}
    found = GPT2Config.from_dict(trimmed(asked, 2))
    assert (found.n_layer, found.vocab_size, found.use_cache) == (2, 1, False)
    assert (found.attn_pdrop, found.resid_pdrop, found.embd_pdrop) == (0, 0, 0)
    assert (found.n_embd, found.n_head, found.n_positions) == (12, 3, 17)
    own = LlamaConfig.from_dict(trimmed(LLAMA.to_dict() | {"attention_dropout": 0.1}, 1))
    assert (own.num_hidden_layers, own.attention_dropout, own.num_key_value_heads) == (1, 0, 1)
    assert trimmed(trimmed(asked, 2), 2) == trimmed(asked, 2)


def test_a_random_architecture_is_a_gpt2_of_its_size() -> None:
    found = random_architecture(2, 12, 3, positions=29)
    blocks = LanguageBlocks(found)
    assert found["model_type"] == "gpt2"
    assert (blocks.layers, blocks.dim, blocks.heads, blocks.positions) == (2, 12, 3, 29)
    assert not [module.p for module in blocks.modules() if isinstance(module, nn.Dropout) and module.p]
    torch.manual_seed(1)
    x = vectors(blocks)
    assert torch.equal(blocks.train()(x, causal(7))[0][-1], blocks.eval()(x, causal(7))[0][-1])


def test_more_layers_than_there_are_and_unknown_models_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"gpt_layers: the backbone has 3 layers, 4 are asked for \(give at most 3\)"):
        trimmed(GPT2.to_dict(), 4)
    with pytest.raises(ConfigError, match="is of type 'gpt77', which transformers does not know"):
        trimmed({"model_type": "gpt77"}, 1)
    with pytest.raises(ConfigError, match="is of type 'None'"):
        trimmed({}, 1)


def test_the_fast_gelu_is_that_of_gpt2() -> None:
    x = torch.linspace(-9, 9, 4001)
    torch.testing.assert_close(F.gelu(x, approximate="tanh"), ACT2FN["gelu_new"](x), rtol=0, atol=1e-6)
    assert trimmed(GPT2.to_dict(), 1)["activation_function"] == "gelu_pytorch_tanh"
    assert trimmed(GPT2.to_dict() | {"activation_function": "relu"}, 1)["activation_function"] == "relu"


# --- what is computed


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_the_model_they_were_cut_from(kind: str, saved: dict[str, Path]) -> None:
    model, blocks = inner(whole(kind)), cut(kind)
    blocks.load(saved[kind])
    x = vectors(blocks)
    with torch.no_grad():
        states, none = blocks(x, causal(7))
        want = model(inputs_embeds=x, output_hidden_states=True).hidden_states
    assert (len(states), none) == (LAYERS, [])
    final = model.ln_f if kind == "gpt2" else model.norm
    torch.testing.assert_close(states[0], want[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(states[1], final(want[2]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_shown_of_the_same_computation(kind: str) -> None:
    blocks = cut(kind)
    mask = causal(7).repeat(1, blocks.heads, 1, 1)
    mask[:, 0] -= torch.arange(7).float().sub(torch.arange(7)[:, None]).abs()
    with torch.no_grad():
        fast, _ = blocks(vectors(blocks), mask)
        slow, used = blocks(vectors(blocks), mask, weights=True)
        again, _ = blocks(vectors(blocks), mask)
    for one, other, third in zip(fast, slow, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert torch.equal(one, third)
    for weights in used:
        assert weights.shape == (2, blocks.heads, 7, 7)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, blocks.heads, 7))
        assert not weights.triu(1).any()
    assert len(used) == LAYERS


# --- what learns


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_starts_at_nothing_and_enters_as_alpha_over_r_of_itself(kind: str) -> None:
    blocks, x = cut(kind), torch.randn(3, KINDS[kind][0].hidden_size)
    with torch.no_grad():
        want = blocks(vectors(blocks), causal(7))[0]
        name = blocks.inputs_of_attention()[0]
        base = blocks.model.get_submodule(name)(x)
        assert blocks.adapt(LoraConfig(r=3, alpha=6)) == blocks.adapted == LAYERS * MODULES[kind]
        assert all(
            torch.equal(one, other) for one, other in zip(blocks(vectors(blocks), causal(7))[0], want, strict=True)
        )
        layer = blocks.eval().model.get_submodule(name)
        a, b = layer.lora_A.default.weight, nn.init.normal_(layer.lora_B.default.weight)
        torch.testing.assert_close(layer(x), base + 2 * x @ a.T @ b.T, rtol=1e-5, atol=1e-5)
        assert (len(a), layer.lora_dropout.default.p) == (3, 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_updates_alone_learn_and_what_is_named_besides(kind: str) -> None:
    blocks = cut(kind)
    blocks.adapt(LoraConfig(r=2))
    learning = {name for name, p in blocks.model.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in blocks.model.named_parameters() if ".lora_" in name}
    assert len(learning) == 2 * LAYERS * MODULES[kind]
    blocks.learn("norm")
    more = {name for name, p in blocks.model.named_parameters() if p.requires_grad} - learning
    assert more == {n for n, _ in blocks.model.named_parameters() if set(n.split(".")) & set(NORMS[kind])}
    assert len(more) == (5 if kind == "llama" else 10)
    blocks.learn("wpe", "embed_positions")
    positions = {name for name, p in blocks.model.named_parameters() if p.requires_grad} - learning - more
    assert positions == ({"wpe.weight"} if kind == "gpt2" else set())


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_of_nothing_freezes_and_the_projections_can_learn_whole(kind: str) -> None:
    blocks = cut(kind)
    assert blocks.adapt(LoraConfig(r=0)) == blocks.adapted == 0
    assert not [p for p in blocks.parameters() if p.requires_grad]
    blocks.free_attention()
    learning = {name.split(".")[-2] for name, p in blocks.model.named_parameters() if p.requires_grad}
    assert learning == ({"c_attn", "c_proj"} if kind == "gpt2" else {"q_proj", "k_proj", "v_proj", "o_proj"})
    assert all("attn" in name for name, p in blocks.model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_drawn_anew_and_nothing_else(kind: str) -> None:
    blocks = cut(kind)
    before = {name: value.clone() for name, value in blocks.model.named_parameters()}
    torch.manual_seed(9)
    blocks.renew_attention()
    for name, value in blocks.model.named_parameters():
        drawn = "attn" in name and name.endswith("weight")
        assert torch.equal(value, before[name]) is not drawn, name
        if drawn:
            assert 0.15 < float(value.detach().std()) < 0.45, name


@pytest.mark.parametrize("kind", KINDS)
def test_an_updates_second_factor_has_a_gradient_at_once_and_the_first_after_a_step(kind: str) -> None:
    blocks = cut(kind)
    blocks.adapt(LoraConfig(r=2, dropout=0))
    learning = {name: p for name, p in blocks.named_parameters() if p.requires_grad}
    stepper = torch.optim.SGD(learning.values(), lr=0.1)
    for step in range(2):
        stepper.zero_grad()
        blocks(vectors(blocks), causal(7))[0][-1].square().mean(dim=1)[:, 0].sum().backward()
        for name, parameter in learning.items():
            moved = parameter.grad is not None and bool(parameter.grad.any())
            assert moved is (step == 1 or "lora_B" in name), (step, name)
        assert all(p.grad is None for p in blocks.parameters() if not p.requires_grad)
        stepper.step()


def test_attention_by_other_names_is_refused_unless_nothing_is_adapted() -> None:
    from transformers import BertConfig

    config = BertConfig(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=5, vocab_size=13)
    blocks = LanguageBlocks(trimmed(config.to_dict(), 1))
    with pytest.raises(ConfigError, match=r"no module of the backbone is named c_attn.*can't be adapted.*lora\.r 0"):
        blocks.adapt(LoraConfig())
    assert blocks.adapt(LoraConfig(r=0)) == 0


# --- what is loaded


FORMS: dict[str, Callable[[Any, Path], None]] = {
    "with its head": lambda model, folder: model.save_pretrained(folder),
    "without its head": lambda model, folder: inner(model).save_pretrained(folder),
    "in parts": lambda model, folder: model.save_pretrained(folder, max_shard_size="4KB"),
    "in half precision": lambda model, folder: model.to(torch.bfloat16).save_pretrained(folder),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_found_however_they_were_saved(kind: str, form: str, tmp_path: Path) -> None:
    model = whole(kind)
    FORMS[form](model, tmp_path)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 2) == (form == "in parts")
    want = inner(model).to(torch.float32).state_dict()
    plain, adapted = cut(kind), cut(kind)
    adapted.adapt(LoraConfig(r=2))
    for blocks in (plain, adapted):
        table = blocks.load(tmp_path)
        words = inner(model).get_input_embeddings().weight
        assert torch.equal(table, words)
        assert table.dtype == torch.float32
        held = {n.replace(".base_layer", ""): t for n, t in blocks.model.state_dict().items() if "lora_" not in n}
        names = [name for name in held if len(held[name]) > 1]
        assert len(names) == len(held) - 1  # the table of words
        assert all(torch.equal(held[name], want[name]) for name in names)
    x = vectors(plain)
    with torch.no_grad():
        assert torch.equal(plain(x, causal(7))[0][-1], adapted(x, causal(7))[0][-1])


def lacking(weights: dict[str, Tensor]) -> None:
    weights.pop(next(name for name in sorted(weights) if "ln_2.bias" in name))


def turned(weights: dict[str, Tensor]) -> None:
    name = next(name for name in sorted(weights) if "c_attn.weight" in name)
    weights[name] = weights[name].T.contiguous()


def wordless(weights: dict[str, Tensor]) -> None:
    weights.pop("transformer.wte.weight")


@pytest.mark.parametrize(
    "spoil, name", [(lacking, r"h\.0\.ln_2\.bias"), (turned, r"h\.0\.attn\.c_attn\.weight"), (wordless, r"wte\.weight")]
)
def test_a_folder_that_lacks_a_weight_is_refused(spoil: Any, name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    weights = load_file(saved["gpt2"] / "model.safetensors")
    spoil(weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    blocks = cut("gpt2")
    before = {name: value.clone() for name, value in blocks.state_dict().items()}
    with pytest.raises(FileError, match=f"has no {name} that fits the blocks") as caught:
        blocks.load(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in blocks.state_dict().items())


def test_the_layers_that_are_asked_for_are_the_first(saved: dict[str, Path]) -> None:
    one, two = cut("gpt2", 1), cut("gpt2", 2)
    for blocks in (one, two):
        blocks.load(saved["gpt2"])
    with torch.no_grad():
        first = one(vectors(one), causal(7))[0][0]
        torch.testing.assert_close(first, two.model.ln_f(two(vectors(two), causal(7))[0][0]), rtol=1e-5, atol=1e-5)


# --- what is refused


@pytest.mark.parametrize("mask", [None, "both ways"])
def test_blocks_that_do_not_obey_the_mask_are_refused(mask: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = GPT2Model.forward

    def deaf(self: Any, attention_mask: Tensor | None = None, **given: Any) -> Any:
        kept = None if mask is None or attention_mask is None else torch.zeros_like(attention_mask)
        return forward(self, attention_mask=kept, **given)

    monkeypatch.setattr(GPT2Model, "forward", deaf)
    with pytest.raises(ConfigError, match="attention of 'gpt2' does not obey an additive mask"):
        cut("gpt2")


def test_kinds_that_take_no_vectors_or_no_mask_are_refused_in_one_line() -> None:
    from transformers import BloomConfig, MambaConfig, T5Config

    small = {"hidden_size": 12, "vocab_size": 13}
    kinds = [
        T5Config(d_model=12, d_kv=3, num_heads=2, num_layers=2, d_ff=5, vocab_size=13),
        BloomConfig(n_layer=2, n_head=2, **small), MambaConfig(num_hidden_layers=2, **small),
    ]  # fmt: skip
    for config in kinds:
        with pytest.raises(ConfigError, match=f"blocks of '{config.model_type}' can't be fed with vectors") as caught:
            LanguageBlocks(trimmed(config.to_dict(), 1))
        assert "\n" not in str(caught.value)


def test_building_draws_nothing_but_weights() -> None:
    """What is checked of a model is drawn apart: blocks are a function of the seed, whatever the check reads."""
    first = cut("gpt2")
    after = torch.rand(3)
    torch.manual_seed(5)
    GPT2Model(GPT2Config.from_dict(trimmed(GPT2.to_dict(), LAYERS)))
    assert torch.equal(torch.rand(3), after)
    assert all(torch.equal(t, cut("gpt2").state_dict()[name]) for name, t in first.state_dict().items())


# --- words


@pytest.mark.parametrize("count, falls", [(4, 0.1), (10, 0.9)])
def test_principal_words_are_the_singular_vectors_of_the_centred_table(count: int, falls: float) -> None:
    """A few of many where they fall off fast, or all that there are."""
    table = torch.randn(61, 11, generator=torch.Generator().manual_seed(1)) * falls ** torch.arange(11)
    found = principal_words(table, count).double().numpy()
    turned = table.T.double().numpy()
    u, s, _ = np.linalg.svd(turned - turned.mean(axis=0), full_matrices=False)
    want = (u * s)[:, :count].T
    signs = np.sign((found * want).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found * signs, want, rtol=1e-3, atol=1e-4)


def test_principal_words_are_the_same_every_time_and_draw_nothing() -> None:
    table = torch.randn(61, 11)
    torch.manual_seed(1)
    first, after = principal_words(table, 5), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    assert torch.equal(principal_words(table, 5), first)
    assert principal_words(table, 500).shape == (11, 11)
    assert principal_words(table[:7], 500).shape == (7, 11)
    assert principal_words(table.to(torch.bfloat16), 2).dtype == torch.float32


def test_counts_are_of_values_that_learn_and_that_are_frozen() -> None:
    layer, other = nn.Linear(3, 5), nn.Linear(5, 7, bias=False)
    other.requires_grad_(False)
    assert parameter_counts([layer, other]) == (20, 35)
    assert parameter_counts([]) == (0, 0)
    blocks = cut("gpt2")
    blocks.adapt(LoraConfig(r=2))
    learn, frozen = parameter_counts([blocks])
    assert learn == LAYERS * (2 * 12 + 36 * 2)
    assert learn + frozen == sum(p.numel() for p in blocks.parameters())
