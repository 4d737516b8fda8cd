"""Where the files of a frozen transformers model lie: a folder, or the local cache of the Hub."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.core.errors import FileError, PlaitError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# What a model needs of its repository; other formats and precisions of the same weights stay there.
NEEDED = ["*.json", "*.txt", "*.model", "model.safetensors", "model-*.safetensors"]
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
SECONDS = 5.0
NO_NETWORK = "the embedders wordllama and minilm need no network"


def model_folder(path: str) -> Path:
    """The folder of a model given as a folder or as a Hub id, from the cache or else downloaded; checked."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return checked(folder.absolute())
    if folder.is_file():
        raise FileError("is a file, not the folder of a model", where=path, fix="give its folder")
    if not HUB_ID.fullmatch(path):
        raise FileError(
            "there is no such folder", where=path,
            fix=f"give the folder of a model or a Hub id such as google-bert/bert-base-uncased; {NO_NETWORK}",
        )  # fmt: skip
    return checked(_cached(path) or _downloaded(path))


def _snapshot(repository: str, local: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(repository, local_files_only=local, allow_patterns=NEEDED, ignore_patterns=["*/*"]),
    )


def _cached(repository: str) -> Path | None:
    try:
        folder = _snapshot(repository, local=True)
    except (OSError, ValueError):  # not there, or known to be incomplete
        return None
    # A snapshot holds what was asked for at the time: the configuration alone, say.
    whole = (folder / "config.json").is_file() and _has_weights(folder)
    return folder if whole and (any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))) else None


def _downloaded(repository: str) -> Path:
    from huggingface_hub import HfApi

    try:
        # One plain question with a time limit first: the download itself asks again and again.
        names = [file.rfilename for file in HfApi().model_info(repository, timeout=SECONDS).siblings or []]
        if not set(WEIGHTS) & set(names):
            raise FileError(
                "has no weights in safetensors, and pickle files are not read", where=repository,
                fix="choose another model, or convert it in a folder of your own",
            )  # fmt: skip
        return _snapshot(repository, local=False)
    except PlaitError:
        raise
    except Exception as error:  # the client lets errors of its network library through
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise FileError(
            f"is neither a folder, nor whole in the local cache of the Hub, nor reachable there: {reason}",
            where=repository, fix=f"check the name and the network; {NO_NETWORK}",
        ) from None  # fmt: skip


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHTS)


def checked(folder: Path) -> Path:
    """Refuse a folder that holds no model, only an adapter, or weights that are not in safetensors."""
    if not (folder / "config.json").is_file():
        raise FileError("has no config.json: not the folder of a transformers model", where=str(folder))
    if (folder / "adapter_config.json").is_file():
        # It would be loaded on top of weights from elsewhere, which the revision does not know.
        raise FileError("holds an adapter", where=str(folder), fix="merge it into its model and save that")
    if not _has_weights(folder):
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        held = f"weights only in {', '.join(pickles)}, which is not read: it may run code" if pickles else "no weights"
        raise FileError(
            f"holds {held}", where=str(folder), fix="save the model with save_pretrained, which writes safetensors"
        )
    return folder


def folder_revision(folder: Path) -> str:
    """The sha256, shortened, over the files that decide what the states are: configuration, weights, tokenizer."""
    total = hashlib.sha256()
    files = (path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".model", ".safetensors"))
    for path in sorted(file for file in files if file.is_file()):
        try:
            with open(path, "rb") as file:
                total.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()};".encode())
        except OSError as error:
            raise FileError(f"can't be read: {error.strerror}", where=str(path)) from None
    return total.hexdigest()[:16]


@contextmanager
def loading(folder: Path, deed: str = "loaded as a transformers model", give: str = "the model") -> Iterator[None]:
    """Work with a model without bars and notes; every way its folder can be broken becomes one FileError."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # its functions have no types
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except PlaitError:
        raise
    except Exception as error:  # what is raised depends on the model's own classes
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        fix = f"give {give} as save_pretrained of this version of transformers saves it"
        raise FileError(f"can't be {deed}: {reason}", where=str(folder), fix=fix) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def loaded(folder: Path, config: Any, give: str = "the model") -> tuple[Any, set[str]]:
    """The model of a folder in float32, and the names of what of a pooler its weights lack.

    A pooler sits behind the last hidden layer, and many checkpoints have none; anything else that is absent is a
    FileError.
    """
    import torch
    from transformers import AutoModel

    # Layers that a checkpoint lacks are drawn; a training that follows must not see the difference.
    with loading(folder, give=give), torch.random.fork_rng(devices=[]):
        model, info = AutoModel.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False,
            use_safetensors=True, dtype=torch.float32, output_loading_info=True,
        )  # fmt: skip
    pooler = {name for name in info["missing_keys"] if "pooler" in name}
    absent = sorted(set(info["missing_keys"]) - pooler)
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise FileError(f"the weights lack {absent[0]}{more}", where=str(folder), fix="save the whole model")
    return model, pooler
