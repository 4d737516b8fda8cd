"""The layers of auxiliary objectives: what a sample's vector, its tokens and the letters of its ASVs are asked."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.core.errors import ConfigError
from plait.core.tokens import Tokens
from plait.encoders.asv import Asv
from plait.nn.block import Stack
from plait.nn.masked_letters import MaskedLetters, chosen, fixed_draw, hidden_letters
from plait.objectives.auxiliary import AuxiliaryConfig

WIDTH = 32
"""Width of the embedding whose distances are those between samples."""


def objectives_of(config: AuxiliaryConfig, asv: nn.Module, pooled: int) -> "Objectives | None":
    """The heads of the objectives with a weight, for an ASV encoder and the width of a sample's vector.

    Errors: ConfigError where the encoder knows nothing of ASVs, or not what an objective asks.
    """
    if not config.weights:
        return None
    if not isinstance(asv, Asv):
        raise ConfigError(
            f"objectives of ASVs ask the encoder asv, not {type(asv).__name__}", where="task.auxiliary",
            fix="give them no weight, or --model.asv.kind asv",
        )  # fmt: skip
    return Objectives(config, asv, pooled)


class Objectives(nn.Module):
    """One head an objective, and none for an objective without a weight.

    `unifrac` (b, 1, 32): a linear map of the normalised vector of a sample. `faith` (b, 1): one number of it, in sds of
    the train samples. `counts` (b, 1): the mean squared error of log1p of the counts that were hidden from a sample's
    tokens; the tokens pass the sample blocks a second time, so that nothing else sees a count hidden. `nucleotides`
    (b, 1): the mean surprise at hidden letters over a sample's ASVs; each ASV of a batch is read once.

    What is hidden is drawn anew in training. In evaluation it is a function of the ASV, so that no row depends on its
    batch.
    """

    def __init__(self, config: AuxiliaryConfig, asv: Asv, pooled: int) -> None:
        super().__init__()
        self.config = config
        self.unifrac = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, WIDTH)) if config.unifrac else None
        self.faith = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, 1)) if config.faith else None
        self.counts = nn.Sequential(nn.LayerNorm(asv.dim), nn.Linear(asv.dim, 1)) if config.counts else None
        # Stands where a token has no count to read.
        self.unknown = nn.Parameter(torch.zeros(asv.dim)) if config.counts and asv.amount is not None else None
        self.nucleotides = None
        if config.nucleotides:
            if asv.nucleotides is None:
                raise ConfigError(
                    "no part of the model reads letters", where="task.auxiliary.nucleotides",
                    fix="set model.asv.nucleotides, or give this objective no weight",
                )  # fmt: skip
            if asv.frozen:
                raise ConfigError(
                    "the encoder of nucleotides is frozen, hidden letters would teach it nothing",
                    where="task.auxiliary.nucleotides", fix="give this objective no weight",
                )  # fmt: skip
            self.nucleotides = MaskedLetters(asv.nucleotides.dim)
        # The draws of evaluation, by ASV: made when they are first asked for.
        self.fixed: dict[str, Tensor] = {}

    def forward(
        self, asv: Asv, sample: Stack, fields: Mapping[str, Tensor], said: Tokens, pooled: Tensor
    ) -> dict[str, Tensor]:
        """What each objective is read from, by its name.

        Shape: said (b, s, d) the tokens without counts, pooled (b, p).
        """
        found = {}
        if self.unifrac is not None:
            found["unifrac"] = self.unifrac(pooled)[:, None]
        if self.faith is not None:
            found["faith"] = self.faith(pooled)
        if self.counts is not None:
            found["counts"] = self._counted(asv, sample, fields, said)[:, None]
        if self.nucleotides is not None:
            found["nucleotides"] = self._spelled(asv, fields)[:, None]
        return found

    def _counted(self, asv: Asv, sample: Stack, fields: Mapping[str, Tensor], said: Tokens) -> Tensor:
        assert self.counts is not None
        values, counts = fields["values"], fields["counts"]
        if self.training:
            draw = torch.rand(said.mask.shape, device=values.device)
        else:
            draw = self._fixed("counts", asv.features, 1, values.device)[:, 0][values]
        under = chosen(said.mask, draw, self.config.hide)
        tokens: Tokens = sample(asv.weighed(said, fields, under, self.unknown))
        point = self.counts(tokens.x)[..., 0]
        point = point.to(torch.promote_types(point.dtype, torch.float32))
        error = torch.where(under, point - torch.log1p(torch.where(under, counts, 0.0)), 0.0)
        return error.square().sum(dim=1) / under.sum(dim=1).clamp(min=1)

    def _spelled(self, asv: Asv, fields: Mapping[str, Tensor]) -> Tensor:
        assert self.nucleotides is not None
        assert asv.nucleotides is not None
        values, mask = fields["values"], fields["mask"]
        features, place = torch.unique(values[mask], return_inverse=True)
        letters = asv.letters.index_select(0, features)
        if self.training:
            draw = torch.rand(letters.shape, device=letters.device)
        else:
            draw = self._fixed("letters", len(asv.letters), letters.shape[1], letters.device)[features]
        span = self.config.span if self.config.masking == "span" else 1
        each = self.nucleotides(asv.nucleotides, letters, hidden_letters(letters, draw, self.config.hide, span))
        wide = each.new_zeros(mask.shape).index_put((mask,), F.embedding(place, each[:, None])[:, 0])
        found: Tensor = wide.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return found

    def _fixed(self, name: str, rows: int, columns: int, device: torch.device) -> Tensor:
        if name not in self.fixed or self.fixed[name].device != device:
            self.fixed[name] = fixed_draw(rows, columns).to(device)
        return self.fixed[name]
