"""Which objectives a model of samples learns beside its target, how much each weighs, and what they hide."""

from typing import Any, Literal

from pydantic import Field

from plait.core.config import Config
from plait.core.errors import ConfigError

NAMES = ("unifrac", "faith", "counts", "nucleotides")


class AuxiliaryConfig(Config):
    """Weights of objectives that need no label; one of weight 0 is left out, with its layers."""

    unifrac: float = Field(0.0, ge=0)
    """Weight of the distances between the samples of a batch, read from their pooled vectors."""
    faith: float = Field(0.0, ge=0)
    """Weight of Faith's phylogenetic diversity of a sample, standardised by the train samples."""
    counts: float = Field(0.0, ge=0)
    """Weight of the counts of ASVs, hidden from their tokens: log1p of each."""
    nucleotides: float = Field(0.0, ge=0)
    """Weight of the letters of sequences, hidden from the encoder of nucleotides."""
    masking: Literal["random", "span"] = "random"
    """Whether letters are hidden one by one, or as spans of neighbours."""
    span: int = Field(5, ge=1)
    """Letters of a span."""
    hide: float = Field(0.15, gt=0, lt=1)
    """Share of the letters of a sequence, and of the counts of a sample, that is hidden; at least one is."""

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the objectives that have one."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}

    def check(self, data: Any, training: Any) -> None:
        """Refuse objectives that these data, or a training in parts, give no meaning.

        Errors: ConfigError. `data` and `training` are their configs.
        """
        source = getattr(data, "unifrac", None)
        if self.weights and source is None:
            raise ConfigError("objectives of samples need samples of ASVs", where="task.auxiliary", fix="leave it out")
        tree, matrix = getattr(data, "tree", None), getattr(data, "distances", None)
        mixed = bool(getattr(data, "mixup", 0)) and bool(self.unifrac or self.faith)
        faults = (
            (self.unifrac and source == "none" and matrix is None, "unifrac", "no distance between samples is chosen",
             "--data.unifrac unweighted, with --tree; or --distances"),
            (self.unifrac and source == "weighted" and matrix is None, "unifrac",
             "weighted UniFrac has no bound, and what is predicted lies below 1", "--data.unifrac weighted_normalized"),
            (self.unifrac and training.accumulate > 1, "unifrac",
             f"pairs are those of a whole batch, and accumulate {training.accumulate} takes it in parts",
             "--training.accumulate 1, or no weight for unifrac"),
            (self.faith and tree is None, "faith", "there is no tree", "--tree FILE, or no weight for faith"),
            (mixed, "unifrac" if self.unifrac else "faith", "a mixed sample has no known distances or diversity",
             "--data.mixup 0, or no weight for unifrac and faith"),
        )  # fmt: skip
        for wrong, field, what, fix in faults:
            if wrong:
                raise ConfigError(what, where=f"task.auxiliary.{field}", fix=fix)
