"""Tokens, Notes, Batch, Prediction and Output: the tensors that move between the parts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from plait.core.errors import DataError


class Tokens(NamedTuple):
    """A sequence of vectors with a presence mask.

    Shape: `x` (b, n, d); `mask` (b, n) bool.
    Mask: True = present. A missing modality is an all-False row, in training, evaluation and export alike.
    The content of `x` under a False mask has no meaning and is never read.
    """

    x: Tensor
    mask: Tensor

    @classmethod
    def full(cls, x: Tensor) -> "Tokens":
        """Tokens that are all present."""
        return cls(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))

    @property
    def present(self) -> Tensor:
        """Which rows have at least one token. Shape: (b,) bool."""
        return self.mask.any(dim=1)


class Map(NamedTuple):
    """A labelled tensor the model looked with: attention weights, gates. `axes` names each axis, rows first.

    `keys` says of attention what stands along the last axis, in order: a stream, or what the operator adds (`null`,
    `latent`), and its number of places.
    """

    values: Tensor
    axes: tuple[str, ...]
    keys: tuple[tuple[str, int], ...] = ()


@dataclass
class Notes:
    """What a part says beside its tokens: labelled maps, only with `explain`, and losses of its own by name.

    A loss is (sum over the rows of the batch, number of rows of the batch). Rows that it does not concern add exactly 0
    and count all the same: so its weight is known before the forward pass, and accumulation gives the one true mean.
    """

    explain: bool = False
    maps: dict[str, Map] = field(default_factory=dict)
    losses: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def attention(self, name: str, weights: Tensor | None, queries: str, keys: tuple[tuple[str, int], ...]) -> None:
        """Note attention weights (b, h, n, m) as `attention` or `attention.<name>`; nothing where there are none."""
        if weights is not None:
            axes = ("row", "head", f"{queries} token", " + ".join(stream for stream, _ in keys) + " token")
            self.maps[f"attention.{name}" if name else "attention"] = Map(weights, axes, keys)

    def include(self, inner: "Notes", where: str) -> None:
        """Take over what a part inside said; its maps and losses are named `<name>.<where>`."""
        self.maps |= {f"{name}.{where}": found for name, found in inner.maps.items()}
        self.losses |= {f"{name}.{where}": found for name, found in inner.losses.items()}

    def add_loss(self, name: str, rows: Tensor) -> None:
        """Note a loss by what each row adds to it. Shape: `rows` (b,). The sum is float32 also under half precision."""
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        self.losses[name] = wide.sum(), torch.ones_like(wide).sum()


class Prediction(NamedTuple):
    """What a head returns: the answer, in the unit the head was given, and by name what it was read from.

    Shape: `point` (b, p, v) for forecasts, (b, outputs) for one answer a row. `parts` are batch first with an axis of
    the nets of an ensemble behind it: `points` (b, m, outputs), `logits` (b, m, bins or classes).
    """

    point: Tensor
    parts: Mapping[str, Tensor] = {}


class Output(NamedTuple):
    """What a model returns: the prediction, its own losses as (sum, weight), and maps when asked for."""

    prediction: Prediction
    losses: dict[str, tuple[Tensor, Tensor]]
    maps: dict[str, Map]


class Batch(NamedTuple):
    """Plain tensors by name, batch first, and nothing else, so that slicing, moving and export work.

    `inputs` is what `forward` reads, `targets` what the loss reads, `info` (row numbers, time stamps) is for
    look-ups outside the model.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    info: dict[str, Tensor]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(*({k: v.to(device, non_blocking=True) for k, v in part.items()} for part in self))

    def rows(self, index: Tensor | slice) -> "Batch":
        """The rows `index` of every tensor."""
        return Batch(*({k: v[index] for k, v in part.items()} for part in self))

    def without(self, modalities: Iterable[str]) -> "Batch":
        """The batch with whole modalities left out: every input named `<modality>` or `<modality>_...`."""
        out = tuple(modalities)
        kept = {k: v for k, v in self.inputs.items() if not any(k == m or k.startswith(m + "_") for m in out)}
        return Batch(kept, self.targets, self.info)

    def check(self, required: Iterable[str]) -> None:
        """Refuse a batch a model can't read: inputs missing, rows that do not agree, masks that do not fit, values not
        finite. Values under a False `<name>_mask` may be anything.
        """
        missing = [name for name in required if name not in self.inputs]
        if missing:
            raise DataError(
                f"the batch lacks {', '.join(missing)}", where="batch.inputs", fix="these may not be absent"
            )
        counts = {name: int(t.shape[0]) if t.dim() else 0 for part in self for name, t in part.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"the tensors of a batch differ in rows: {counts}", where="batch")
        for name, tensor in self.inputs.items():
            if not tensor.is_floating_point():
                continue
            mask = self.inputs.get(f"{name}_mask")
            finite = torch.isfinite(tensor)
            if mask is not None:
                if mask.dtype != torch.bool or mask.shape != tensor.shape[: mask.dim()]:
                    raise DataError(
                        f"{mask.dtype} of shape {tuple(mask.shape)} is no mask of {tuple(tensor.shape)}",
                        where=f"batch.inputs.{name}_mask", fix="give a bool a row or a bool a value",
                    )  # fmt: skip
                finite = finite | ~mask.reshape(mask.shape + (1,) * (tensor.dim() - mask.dim()))
            if not bool(finite.all()):
                place = tuple(int(i) for i in (~finite).nonzero()[0])
                raise DataError(
                    f"value at {place} is not finite", where=f"batch.inputs.{name}", fix="mask it or mend it"
                )


def fields_of(inputs: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The inputs of one modality under the names that encoders read: `text` -> values, `text_mask` -> mask."""
    fields = {key.removeprefix(f"{name}_"): value for key, value in inputs.items() if key.startswith(f"{name}_")}
    return {"values": inputs[name], **fields}


def anchored(streams: Mapping[str, Tokens], anchor: str) -> tuple[Tokens, dict[str, Tokens]]:
    """Part the residual stream from the context streams, which come in the order of their names.

    Mask: absent tokens of the residual stream are set to 0, so that their content reaches no output and no gradient.
    """
    if anchor not in streams:
        raise DataError(f"the anchor stream {anchor!r} is absent", where="fusion", fix=f"streams: {', '.join(streams)}")
    x, mask = streams[anchor]
    own = Tokens(torch.where(mask[..., None], x, 0.0), mask)
    return own, {name: streams[name] for name in sorted(streams) if name != anchor}
