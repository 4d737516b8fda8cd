"""A fusion operator as a case: random streams of a schema, some of them absent."""

from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from plait.core.config import Config
from plait.core.errors import ConfigError
from plait.core.schema import Schema
from plait.core.tokens import Notes, Tokens
from plait.testing.case import Case, Tensors, put

CONTEXT_TOKENS = (7, 11, 17, 23)


class FusionCase(Case):
    """A fusion operator over the streams of a schema; the inputs are `<stream>` and `<stream>_mask`."""

    room: ClassVar[str] = "fusion"

    @property
    def anchored(self) -> bool:
        """Whether the operator says that it returns the anchor's tokens."""
        return bool(getattr(self.config, "anchored", False))

    @property
    def keeps_anchor(self) -> bool:
        """Whether an anchored operator returns the anchor itself in a row without context; one that does not says so
        by `keeps_anchor = False` of its config.
        """
        return self.anchored and bool(getattr(self.config, "keeps_anchor", True))

    def tokens(self, name: str) -> int:
        """How many tokens a stream has in the samples."""
        if name == self.schema.anchor:
            return 5
        return self.schema.stream_tokens.get(name, CONTEXT_TOKENS[self.schema.contexts.index(name) % 4])

    def sample(self, rows: int = 3, seed: int = 0) -> Tensors:
        """Random streams: row 0 is full, the others lack some tokens, and none lacks all of a stream's."""
        maker = torch.Generator().manual_seed(seed)
        inputs = {}
        for name, width in self.schema.streams.items():
            count = self.tokens(name)
            inputs[name] = torch.randn(rows, count, width, generator=maker)
            mask = torch.rand(rows, count, generator=maker) < 0.7
            mask[0], mask[:, 0] = True, True
            mask[1:, -1] = mask[1:, -1] & (count == 1)
            inputs[f"{name}_mask"] = mask
        return self.finish(inputs)

    def run(self, module: nn.Module, inputs: Tensors, notes: Notes | None = None) -> Tensors:
        """The fused tokens as `x` and `mask`."""
        x, mask = module({name: Tokens(inputs[name], inputs[f"{name}_mask"]) for name in self.present(inputs)}, notes)
        return {"x": x, "mask": mask}

    def losses(self, module: nn.Module, inputs: Tensors, explain: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
        """What the operator adds to the notes."""
        notes = Notes(explain)
        self.run(module, inputs, notes)
        return notes.losses

    def masks(self, inputs: Tensors) -> dict[str, str]:
        """Each stream's own."""
        return {name: f"{name}_mask" for name in self.present(inputs)}

    def seen(self, outputs: Tensors) -> Tensors:
        """The tokens with 0 for absent ones, and the mask."""
        return {"x": put(outputs["x"], outputs["mask"], 0.0), "mask": outputs["mask"]}

    def present(self, inputs: Tensors) -> list[str]:
        """The streams that are not left out, in the order of the inputs."""
        return [name for name in inputs if name in self.schema.streams]

    def optional(self) -> tuple[str, ...]:
        """The streams that may be absent."""
        return self.schema.contexts if self.anchored else tuple(self.schema.streams)

    def without(self, inputs: Tensors, names: tuple[str, ...], index: slice = slice(None)) -> Tensors:
        """The inputs with the masks of streams False in some rows."""
        changed = dict(inputs)
        for name in names:
            changed[f"{name}_mask"] = inputs[f"{name}_mask"].clone()
            changed[f"{name}_mask"][index] = False
        return changed

    def left_out(self, inputs: Tensors, names: tuple[str, ...]) -> Tensors:
        """The inputs without streams."""
        gone = {*names, *(f"{name}_mask" for name in names)}
        return {name: tensor for name, tensor in inputs.items() if name not in gone}

    def anchor(self, inputs: Tensors) -> Tensors:
        """What an anchored operator returns that changes nothing."""
        name = self.schema.anchor
        return self.seen({"x": inputs[name], "mask": inputs[f"{name}_mask"]})


def example_schema(config: Config, contexts: int = 2) -> Schema:
    """The smallest widths that the config builds with: an anchor of 19 or more, contexts of 13 and 17 or as much more
    as heads in the width of a context need.
    """
    refusal: ConfigError | None = None
    names = ("dated", "tabular")[:contexts]
    for more, width in product(range(16), range(19, 129)):
        schema = Schema("series", {"series": width, **dict(zip(names, (13 + more, 17 + more), strict=False))})
        try:
            with torch.random.fork_rng(devices=[]):
                config.build(schema)  # type: ignore[attr-defined]
        except ConfigError as error:
            refusal = error
        else:
            return schema
    raise AssertionError(f"{config!r} builds with no anchor width from 19 to 128; give a schema: {refusal}")
