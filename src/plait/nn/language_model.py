"""The first blocks of a causal language model, fed with vectors instead of words, and what of them learns."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from plait.core.config import Config
from plait.core.errors import ConfigError, FileError, PlaitError

ATTENTION_INPUTS = ("c_attn", "q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value")
"""What the projections of a block's input to queries, keys and values are called."""
ATTENTION_OUTPUTS = ("c_proj", "o_proj", "dense")
DROPOUTS = ("attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout", "hidden_dropout")
POSITIONS = ("wpe", "embed_positions")
NORM = "norm"
SLOW_GELUS = ("gelu_new", "gelu_fast")
"""The same function as torch's tanh form of GELU, written as eight passes over the widest tensor of a block."""


class LoraConfig(Config):
    """Low-rank updates of the attention's input projections."""

    r: int = Field(8, ge=0)
    """Rank; 0 leaves them out."""
    alpha: int = Field(32, ge=1)
    """Scale: an update enters as alpha / r of itself."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of what an update reads."""


def random_architecture(layers: int, dim: int, heads: int, positions: int = 1024) -> dict[str, Any]:
    """The configuration of a GPT-2 of that size, for a backbone without weights."""
    from transformers import GPT2Config

    made = GPT2Config(n_layer=layers, n_embd=dim, n_head=heads, n_positions=positions)
    return trimmed(made.to_diff_dict() | {"model_type": "gpt2"}, layers)


@contextmanager
def _of_kind(kind: str) -> Iterator[None]:
    """Says in one line of a type of model that transformers can't cut, build or run this way."""
    try:
        yield
    except PlaitError:
        raise
    except Exception as error:  # every architecture fails in its own way
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ConfigError(
            f"the blocks of {kind!r} can't be fed with vectors and an additive mask: {reason}", where="model.backbone",
            fix="take a GPT-2 or Llama kind of model",
        ) from None  # fmt: skip


def trimmed(config: dict[str, Any], layers: int) -> dict[str, Any]:
    """A configuration cut to its first layers, without vocabulary and dropout.

    Errors: ConfigError for fewer layers, and for a type of model that transformers does not know or can't cut.
    """
    from transformers import CONFIG_MAPPING

    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise ConfigError(f"the backbone is of type {kind!r}, which transformers does not know", where="model.backbone")
    with _of_kind(kind):
        whole = CONFIG_MAPPING[kind].from_dict(config)
        if layers > whole.num_hidden_layers:
            raise ConfigError(
                f"the backbone has {whole.num_hidden_layers} layers, {layers} are asked for", where="model.gpt_layers",
                fix=f"give at most {whole.num_hidden_layers}",
            )  # fmt: skip
        whole.num_hidden_layers, whole.vocab_size, whole.use_cache = layers, 1, False
        whole.bos_token_id = whole.eos_token_id = whole.pad_token_id = None
        for name in DROPOUTS:
            if hasattr(whole, name):
                setattr(whole, name, 0.0)
        for name in ("activation_function", "hidden_act"):
            if getattr(whole, name, None) in SLOW_GELUS:
                setattr(whole, name, "gelu_pytorch_tanh")
        if isinstance(getattr(whole, "layer_types", None), list):
            whole.layer_types = whole.layer_types[:layers]
        found: dict[str, Any] = whole.to_diff_dict()
    for name in ("torch_dtype", "dtype", "architectures", "transformers_version", "_name_or_path"):
        found.pop(name, None)
    return found | {"model_type": kind}


class LanguageBlocks(nn.Module):
    """Vectors -> the hidden states after each of the first blocks of a causal language model.

    No word enters: its table is left out. The additive attention mask (1 or b, 1 or h, n, n) is the model's only one,
    so causality has to be in it. With `recompute` a training pass keeps the blocks' inputs alone, and the backward pass
    computes the rest again.
    Shape: (b, n, dim) -> a list of `layers` tensors (b, n, dim), the last after the final norm.
    Errors: ConfigError for a model whose blocks do not take such a mask.
    """

    def __init__(self, architecture: dict[str, Any]) -> None:
        from transformers import CONFIG_MAPPING, AutoModel

        super().__init__()
        self.adapted = 0
        kind = architecture["model_type"]
        with _of_kind(kind):
            config = CONFIG_MAPPING[kind].from_dict(architecture)
            self.model: Any = AutoModel.from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
            self.model.get_input_embeddings().requires_grad_(False)
            self.dim, self.heads, self.layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
            self.positions: int | None = getattr(config, "max_position_embeddings", None)
            check_mask(self, kind)

    def forward(self, x: Tensor, mask: Tensor, weights: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        """The hidden states, and the attention weights of each block (b, h, n, n) if asked for, else none."""
        if weights:
            again = self.recompute
            # Fused attention has no weights to give; transformers would return none without a word.
            self.model.set_attn_implementation("eager")
            self.recompute = False
        try:
            out = self.model(
                inputs_embeds=x, attention_mask=mask.to(x.dtype), output_hidden_states=True, output_attentions=weights
            )
        finally:
            if weights:
                self.model.set_attn_implementation("sdpa")
                self.recompute = again
        return list(out.hidden_states[1:]), list(out.attentions) if weights else []

    @property
    def recompute(self) -> bool:
        """Whether training computes the blocks again in the backward pass."""
        return any(block.gradient_checkpointing for block in self._blocks())

    @recompute.setter
    def recompute(self, again: bool) -> None:
        for block in self._blocks():
            block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
            block.gradient_checkpointing = again

    def _blocks(self) -> list[Any]:
        from transformers.modeling_layers import GradientCheckpointingLayer

        return [module for module in self.model.modules() if isinstance(module, GradientCheckpointingLayer)]

    def inputs_of_attention(self) -> list[str]:
        """The names of the modules that project a block's input to queries, keys and values."""
        return [name for name, _ in self.model.named_modules() if name.split(".")[-1] in ATTENTION_INPUTS]

    def adapt(self, lora: LoraConfig) -> int:
        """Freeze all weights and add a low-rank update to each input projection of attention; returns how many.

        The updates start at exactly 0. Errors: ConfigError for a model whose attention has none of the known names.
        """
        from peft import LoraConfig as PeftConfig
        from peft import inject_adapter_in_model
        from transformers.pytorch_utils import Conv1D

        self.model.requires_grad_(False)
        if not lora.r:
            return 0
        names = self.inputs_of_attention()
        if not names:
            raise ConfigError(
                f"no module of the backbone is named {', '.join(ATTENTION_INPUTS)}: its attention can't be adapted",
                where="model.backbone", fix="take a GPT-2 or Llama kind of model, or --model.lora.r 0",
            )  # fmt: skip
        transposed = all(isinstance(self.model.get_submodule(name), Conv1D) for name in names)
        chosen = PeftConfig(
            r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names, fan_in_fan_out=transposed
        )
        inject_adapter_in_model(chosen, self.model)
        adapted = sum(hasattr(module, "lora_A") for module in self.model.modules())
        if adapted != len(names):
            raise RuntimeError(f"{adapted} modules are adapted, {len(names)} were named")
        self.adapted = adapted
        return adapted

    def learn(self, *parts: str) -> None:
        """Let the parameters learn whose name holds one of these words: `NORM`, or a name of `POSITIONS`."""
        for name, parameter in self.model.named_parameters():
            steps = name.split(".")
            of_norm = NORM in parts and any(step.startswith("ln_") or NORM in step for step in steps)
            if of_norm or set(steps) & set(parts):
                parameter.requires_grad_(True)

    def projections(self) -> list[nn.Module]:
        """The projections of attention, its inputs and its output, of every block."""
        found = []
        for name, module in self.model.named_modules():
            steps = name.split(".")
            inside = any("attn" in step or "attention" in step for step in steps[:-1])
            if inside and steps[-1] in (*ATTENTION_INPUTS, *ATTENTION_OUTPUTS):
                found.append(module)
        return found

    def free_attention(self) -> None:
        """Let the projections of attention learn whole."""
        for module in self.projections():
            module.requires_grad_(True)

    def renew_attention(self) -> None:
        """Draw the weights of attention anew."""
        for module in self.projections():
            self.model._init_weights(module)

    def load(self, folder: Path) -> Tensor:
        """Take the weights of these blocks from a model's folder; returns its table of words (vocabulary, dim).

        Only what is needed is read. Errors: FileError where a weight is not in the folder, or of another shape.
        """
        from safetensors import safe_open

        table = next(
            name for name, value in self.model.named_parameters() if value is self.model.get_input_embeddings().weight
        )
        own = self._weights()
        found: dict[str, Tensor] = {}
        for path in sorted(folder.glob("model*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (the file is no mapping)
                    name = next((n for n in (key, key.partition(".")[2]) if n in own), None)
                    if name is not None:
                        found[name] = file.get_tensor(key).to(torch.float32)
        wrong = [n for n in own if n != table and (n not in found or found[n].shape != own[n].shape)]
        if wrong or table not in found:
            raise FileError(f"has no {', '.join((wrong or [table])[:3])} that fits the blocks", where=str(folder))
        with torch.no_grad():
            for name, value in own.items():
                if name != table:
                    value.copy_(found[name])
        return found[table]

    @torch.no_grad()
    def take(self, other: "LanguageBlocks") -> None:
        """Take the weights of other blocks of the same architecture, whatever either adapts."""
        given = other._weights()
        for name, value in self._weights().items():
            value.copy_(given[name])

    def _weights(self) -> dict[str, Tensor]:
        """The weights by their names in a model that nothing adapts; the tensors themselves."""
        state = self.model.state_dict()
        return {name.replace(".base_layer", ""): value for name, value in state.items() if ".lora_" not in name}


def check_mask(blocks: "LanguageBlocks", name: str) -> None:
    """Refuse blocks that do not obey an additive mask: their attention would see the future in silence."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        one = torch.randn(1, 3, blocks.dim)
        other = torch.cat([one[:, :2], one[:, 2:] + 1], dim=1)
        causal = torch.triu(torch.full((3, 3), torch.finfo(torch.float32).min), 1)[None, None]
        near = causal + torch.tril(torch.full((3, 3), -50.0), -1)
        kept = blocks.model.training
        blocks.model.eval()
        first, changed, lonely = (
            blocks(x, mask)[0][-1][:, 1] for x, mask in ((one, causal), (other, causal), (one, near))
        )
        blocks.model.train(kept)
    if not torch.equal(first, changed) or torch.equal(first, lonely):
        raise ConfigError(
            f"the attention of {name!r} does not obey an additive mask, so no bias can be registered with it",
            where="model.backbone", fix="take a GPT-2 or Llama kind of model",
        )  # fmt: skip


def principal_words(words: Tensor, count: int) -> Tensor:
    """The principal components of a table of words, as vectors of its width, each as long as its singular value.

    Shape: (vocabulary, d) -> (min(count, d, vocabulary), d). They are centred over the vocabulary's axis, as published.
    Source: Liu et al. 2025 (CALF), section 3.2; torch.pca_lowrank.
    """
    count = min(count, *words.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        u, s, _ = torch.pca_lowrank(words.float().T, q=count)
    return (u * s).T.contiguous()


def parameter_counts(modules: Iterable[nn.Module]) -> tuple[int, int]:
    """How many values learn, and how many are frozen."""
    held = [parameter for module in modules for parameter in module.parameters()]
    learn = sum(parameter.numel() for parameter in held if parameter.requires_grad)
    return learn, sum(parameter.numel() for parameter in held) - learn
