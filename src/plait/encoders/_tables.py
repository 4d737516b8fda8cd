"""What encoders of feature tables share: filling their buffers, and the centre of a row's log ratios."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.core.errors import DataError


def fill_buffer(buffer: Tensor, tables: Mapping[str, Tensor], name: str) -> None:
    """Copy a table of a run into the buffer that was registered for it, in the buffer's dtype and on its device.

    Errors: DataError for a table that is missing or of another shape.
    """
    if name not in tables:
        raise DataError(f"the table {name!r} is missing", where="tables", fix=f"given: {', '.join(sorted(tables))}")
    if tables[name].shape != buffer.shape:
        raise DataError(
            f"{tuple(tables[name].shape)} does not fit {tuple(buffer.shape)}", where=f"tables.{name}",
            fix="build the part from the schema of the same run",
        )  # fmt: skip
    with torch.no_grad():
        buffer.copy_(tables[name])


def log_counts(counts: Tensor, mask: Tensor, features: int) -> tuple[Tensor, Tensor]:
    """log1p of the counts, 0 where absent, and its mean over all features of the table, those a row lacks counted as 0.

    Their difference is the CLR with pseudocount 1 of the ASVs that are there; minus the mean, that of all others.
    Shape: (b, s) -> (b, s) and (b, 1). At least float32.
    Source: Aitchison 1986, section 4.6.
    """
    wide = torch.promote_types(counts.dtype, torch.float32)
    logs = torch.log1p(torch.where(mask, counts, 0.0).to(wide))
    return logs, logs.sum(dim=1, keepdim=True) / features
