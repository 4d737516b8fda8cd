"""The maps of every row on disk, a file a batch, so that memory does not grow with the split."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from plait.core.errors import DataError
from plait.core.files import write_file, write_json
from plait.core.tokens import Map
from plait.evaluation.explain.look import Look

MOST_BYTES = 2**26
"""Bytes of maps in a file; batches are smaller than asked for where they would hold more."""


class MapFiles:
    """Writes `maps-00000.safetensors`, `maps-00001.safetensors`, ... into a folder, and `index.json` about them.

    A file has a tensor a map, rows first, and `row` int64, the number of each row in its split. With `ids`, an input
    and its mask, it has that input too, -1 where absent: which features the tokens of the anchor stand for.
    """

    def __init__(self, folder: Path, ids: str = "") -> None:
        self.folder, self.ids = folder, ids
        self.chunks: list[dict[str, Any]] = []
        self._like: dict[str, Map] = {}
        self.windows = 0

    def add(self, look: Look) -> None:
        """Write the maps of some rows. Errors: DataError where a map has another shape than in rows before."""
        for name, each in look.maps.items():
            known = self._like.setdefault(name, each._replace(values=each.values[:0].cpu()))
            if known.values.shape[1:] != each.values.shape[1:] or known.keys != each.keys:
                raise DataError(
                    f"is {tuple(each.values.shape[1:])} here and {tuple(known.values.shape[1:])} in rows before",
                    where=f"map {name}", fix="give every batch the same number of tokens",
                )  # fmt: skip
        # Two names may stand for one tensor, which the format does not take.
        tensors = {name: each.values.to("cpu", copy=True).contiguous() for name, each in look.maps.items()}
        if self.ids:
            ids, mask = look.batch.inputs[self.ids], look.batch.inputs[f"{self.ids}_mask"]
            tensors[self.ids] = torch.where(mask, ids, -1).cpu().contiguous()
        file = f"maps-{len(self.chunks):05d}.safetensors"
        write_file(self.folder / file, save({**tensors, "row": torch.from_numpy(look.rows.copy())}))
        self.chunks.append({"file": file, "first": int(look.rows[0]), "count": len(look.rows)})
        self.windows += len(look.rows)

    def about(self) -> dict[str, Any]:
        """Each map's axes, keys as (stream, places), and shape over all rows."""
        return {
            name: {
                "axes": list(each.axes), "keys": [list(key) for key in each.keys],
                "shape": [self.windows, *each.values.shape[1:]],
            }
            for name, each in self._like.items()
        }  # fmt: skip

    def close(self, split: str) -> None:
        """Write index.json."""
        index = {"split": split, "windows": self.windows, "maps": self.about(), "chunks": self.chunks}
        write_json(self.folder / "index.json", index)


def fitting_rows(first: Look, asked: int) -> int:
    """How many rows a batch may hold, at most `asked`, so that its maps are no more than 64 MiB."""
    size = sum(each.values[:1].nbytes for each in first.maps.values())
    return max(1, min(asked, MOST_BYTES // max(size, 1)))
