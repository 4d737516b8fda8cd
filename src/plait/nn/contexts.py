"""Several context streams brought to one width and told apart by their own projections."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from plait.core.errors import ConfigError, DataError
from plait.core.tokens import Tokens
from plait.nn.pool import join


def segments(streams: Mapping[str, Tokens]) -> tuple[tuple[str, int], ...]:
    """What stands along the token axis once streams are joined in the order of their names: (stream, places)."""
    return tuple((name, streams[name].x.shape[1]) for name in sorted(streams))


def beside_null(null: Tensor, keys: Tokens) -> Tokens:
    """A learned null token before the keys; it is present only beside real ones.

    Shape: `null` (1, 1, d), `keys` (b, m, d) -> (b, 1 + m, d).
    """
    x = torch.cat([null.expand(keys.x.shape[0], -1, -1), keys.x], dim=1)
    return Tokens(x, torch.cat([keys.present[:, None], keys.mask], dim=1))


def stream_layers(layers: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """A layer for each stream, in the order of their names. Errors: ConfigError for a name that torch keeps."""
    for name in layers:
        if not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ConfigError(f"a stream can't be named {name!r}", where="data", fix="rename it, without a dot")
    return nn.ModuleDict(dict(sorted(layers.items())))


def refuse_unknown(streams: Iterable[str], known: Iterable[str]) -> None:
    """Refuse streams that an operator was not built for: left out without a word they would seem to be used."""
    unknown = sorted(set(streams) - set(known))
    if unknown:
        raise DataError(f"was not built for {', '.join(unknown)}", where="fusion", fix=f"streams: {', '.join(known)}")


class Contexts(nn.Module):
    """{name: (b, m_i, d_i)} -> (b, sum of m_i, dim): each stream by its own affine projection.

    Its bias is the stream's modality vector.
    Mask: kept, and absent content is set to 0 before it is read. Streams that are left out are skipped; the order
    of the mapping's keys does not matter.
    """

    def __init__(self, widths: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.project = stream_layers({name: nn.Linear(width, dim) for name, width in sorted(widths.items())})

    def forward(self, contexts: Mapping[str, Tokens]) -> Tokens:
        """The streams as one."""
        return join(list(self.each(contexts).values()))

    def each(self, contexts: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """The streams by name, in the order of their names, each (b, m_i, dim).

        Errors: DataError for none at all, and for one that this was not built for.
        """
        refuse_unknown(contexts, self.project)
        found = {}
        for name, layer in self.project.items():
            if name in contexts:
                x, mask = contexts[name]
                found[name] = Tokens(layer(torch.where(mask[..., None], x, 0.0)), mask)
        if not found:
            raise DataError("no stream is given", where="fusion", fix=f"streams: {', '.join(self.project)}")
        return found
