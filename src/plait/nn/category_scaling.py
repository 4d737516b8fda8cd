"""A scale and a shift of an answer for each category of some columns."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class CategoryScaling(nn.Module):
    """y -> y * product of s_c + sum of b_c over the columns c, s and b learned for each category, 1 and 0 at the start.

    `columns` maps the number of a column to that of its categories. Shape: answer (b, outputs), `codes` (b, k),
    `mask` (b, k) -> (b, outputs).
    Mask: an unknown category scales by 1 and shifts by 0; its code is never read.
    """

    def __init__(self, columns: Mapping[int, int], outputs: int) -> None:
        super().__init__()
        self.columns = list(columns)
        self.scale = nn.ParameterList(nn.Parameter(torch.ones(size, outputs)) for size in columns.values())
        self.shift = nn.ParameterList(nn.Parameter(torch.zeros(size, outputs)) for size in columns.values())

    def forward(self, answer: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
        """The answer scaled and shifted."""
        scale, shift = torch.ones_like(answer), torch.zeros_like(answer)
        for column, by, to in zip(self.columns, self.scale, self.shift, strict=True):
            known = mask[:, column, None]
            code = torch.where(mask[:, column], codes[:, column], 0)
            scale = scale * torch.where(known, by[code], 1.0)
            shift = shift + torch.where(known, to[code], 0.0)
        return answer * scale + shift
