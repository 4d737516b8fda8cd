"""The run folder: made once, never overwritten, every file whole."""

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from plait.core import yaml
from plait.core.config import validate
from plait.core.errors import ConfigError, DataError, FileError, suggest_file
from plait.core.files import write_file, write_json
from plait.runs.config import RunConfig
from plait.training.launch import from_main

PACKAGES = (
    "plait",
    "torch",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "accelerate",
    "transformers",
    "safetensors",
    "pydantic",
)


def config_text(config: RunConfig) -> str:
    """The resolved config as YAML."""
    return yaml.dump(config.model_dump(mode="json"))


def new_folder(config: RunConfig, out: str | None, root: str = "runs", verb: str = "") -> Path:
    """Make the folder of a run: `out`, which must be new, or runs/<recipe>-<UTC time>-<8 hex of the config>.

    Of several processes of a run, which must all call, the first makes it.
    """
    return from_main(lambda: _made(config, out, root, verb), cpu=config.device == "cpu")


def _made(config: RunConfig, out: str | None, root: str, verb: str) -> Path:
    digest = hashlib.sha256(config_text(config).encode()).hexdigest()[:8]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    name = "-".join(part for part in (config.recipe, verb, stamp, digest) if part)
    folder = Path(out) if out else Path(root) / name
    try:
        if out and folder.exists() and any(folder.iterdir()):
            raise FileError(
                "is there already and is not empty", where=str(folder), fix="give a new --out, or --resume it"
            )
        number = 1
        while not out and folder.exists():
            number += 1
            folder = Path(root) / f"{name}-{number}"
        folder.mkdir(parents=True, exist_ok=bool(out))
    except OSError as error:
        raise FileError(f"can't be made: {error.strerror}", where=str(folder), fix="give another --out") from None
    return folder


@contextmanager
def new_or_nothing(folder: Path) -> Iterator[None]:
    """Take a new folder away again where a fault of config, data or files comes before the first step."""
    try:
        yield
    except (ConfigError, DataError, FileError):
        if not any(folder.rglob("metrics.jsonl")) and not any(folder.rglob("checkpoints/*")):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def write_start(folder: Path, config: RunConfig) -> None:
    """What is known before the first step: the resolved config and the environment."""
    write_file(folder / "config.yaml", config_text(config).encode())
    write_json(folder / "environment.json", environment())


def read_config(folder: Path) -> RunConfig:
    """The config of a run folder."""
    if folder.is_file():
        raise FileError("is a file, a run folder was expected", where=str(folder))
    if not folder.is_dir():
        raise FileError("no such run", where=str(folder), fix=suggest_file(folder))
    if not (folder / "config.yaml").is_file():
        raise FileError("holds no config.yaml, so it is no run", where=str(folder))
    return validate(RunConfig, yaml.read(folder / "config.yaml"), str(folder / "config.yaml"))


def write_splits(folder: Path, data: Any) -> None:
    """splits.json: what each split holds, what was found in the data, and the digest `check_data` compares."""
    facts = {"splits": data.split_summary(), "findings": [str(f) for f in data.findings]}
    write_json(folder / "splits.json", {"data": data.fingerprint(), **facts})


def check_data(folder: Path, data: Any) -> None:
    """Refuse data that are no longer those a run began with: its splits would move, and train rows into its test."""
    path = folder / "splits.json"
    if path.exists() and read_json(path).get("data", "") != data.fingerprint():
        raise DataError(
            "the data have changed since this run began, and its splits with them",
            where=str(folder),
            fix="restore the data or begin a new run; plait predict RUN --path forecasts from new data",
        )


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """What a training wrote of each of its epochs, in order; nothing where it had none."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line for line in map(json.loads, lines) if line.get("event") == "epoch"]


def read_json(path: Path) -> Any:
    """A JSON file of a run."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(
            "no such file; the run has not ended", where=str(path), fix="plait train --resume RUN"
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(f"can't be read: {error}", where=str(path)) from None


def environment() -> dict[str, Any]:
    """Where a run was made: versions, machine, threads."""
    import torch

    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": found,
    }


def check_same(folder: Path, config: RunConfig) -> None:
    """Refuse to go on with a comparison under another config."""
    if config_text(read_config(folder)) != config_text(config):
        raise ConfigError(
            "the config differs from the one it began with", where=str(folder),
            fix="repeat the command it began with, and --resume",
        )  # fmt: skip


def refuse_comparison(folder: Path) -> None:
    """Refuse the folder of a comparison where a run is asked for."""
    if (folder / "arms").is_dir():
        raise FileError("is a comparison and no run", where=str(folder), fix=f"its runs are in {folder / 'arms'}")
