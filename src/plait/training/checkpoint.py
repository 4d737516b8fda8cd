"""Checkpoints: safetensors and JSON with a manifest, written aside, fsynced and renamed."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from plait.core.errors import FileError
from plait.core.files import sync_folder
from plait.training.shards import shard_like, whole

MANIFEST = "manifest.json"


def write_folder(target: Path, tensors: Mapping[str, Mapping[str, Tensor]], records: Mapping[str, Any]) -> None:
    """Write `<name>.safetensors` and `<name>.json` with a manifest of their sha256 into a new folder, then rename it.

    A reader sees the whole folder or none, wherever the writer is killed.
    """
    aside = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        contents = {f"{name}.safetensors": save(_plain(group)) for name, group in tensors.items()}
        contents |= {f"{name}.json": json.dumps(data, indent=1).encode() for name, data in records.items()}
        manifest = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
        for name, content in contents.items():
            with open(aside / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(aside)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise FileError(
            f"can't be written: {error.strerror}; the last checkpoint is untouched", where=str(target),
            fix="free disk space or mend the rights, then --resume",
        ) from None  # fmt: skip


def read_folder(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `write_folder` wrote, after checking every file's sha256."""
    tensors: dict[str, dict[str, Tensor]] = {}
    records: dict[str, Any] = {}
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        for name, digest in manifest.items():
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise FileError("is damaged: its sha256 is not the manifest's", where=str(folder / name))
            stem, suffix = name.rsplit(".", 1)
            if suffix == "safetensors":
                tensors[stem] = load(content)
            else:
                records[stem] = json.loads(content)
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise FileError(f"can't be read: {error}", where=str(folder)) from None
    return tensors, records


def _plain(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().to("cpu").contiguous() for name, t in group.items()}


class Checkpoints:
    """The numbered checkpoints of a run. Of several processes one `writes`."""

    def __init__(self, folder: Path, keep: int, writes: bool = True) -> None:
        self.folder, self.keep = folder, keep
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            for stale in folder.glob(".*.part"):
                shutil.rmtree(stale, ignore_errors=True)

    def all(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        return sorted(self.folder.glob("[0-9]*-step-*"))

    def save(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Any) -> None:
        """Add a checkpoint and forget the oldest beyond `keep`."""
        found = self.all()
        number = int(found[-1].name.split("-")[0]) + 1 if found else 1
        write_folder(self.folder / f"{number:06d}-step-{step}", tensors, {"state": state})
        for old in self.all()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)

    def latest(self) -> tuple[dict[str, dict[str, Tensor]], Any] | None:
        """The newest checkpoint that is whole, or None where there is none at all."""
        found = self.all()
        error: FileError | None = None
        for folder in reversed(found):
            try:
                tensors, records = read_folder(folder)
                return tensors, records["state"]
            except FileError as damage:
                error = damage
        if error is not None:
            raise error
        return None


def rng_state() -> tuple[dict[str, Tensor], Any]:
    """The states of the generators a training may draw from, as tensors and plain data."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    version, internal, gauss = random.getstate()
    return tensors, {"python": [version, list(internal), gauss]}


def set_rng_state(tensors: Mapping[str, Tensor], data: Any) -> None:
    """Put the generators back to what `rng_state` saw."""
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    version, internal, gauss = data["python"]
    random.setstate((version, tuple(internal), gauss))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `<parameter number>.<name>` tensors, whole; the groups follow from the config."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": whole(value) for number, entry in state.items() for name, value in entry.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put an optimiser of the same groups back to what `optimizer_tensors` saw, sharded as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = shard_like(value, parameters[int(number)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
