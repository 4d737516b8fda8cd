"""`pretrained`: states of photos from CLIP, SigLIP, ViT or another image model of transformers."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plait.core.config import Config
from plait.core.errors import FileError
from plait.embedders._folder import HUB_ID, NEEDED, checked, folder_revision, loaded, loading, model_folder
from plait.image_embedders import Device, PhotoTokens
from plait.image_embedders._device import chosen

PROCESSOR = "preprocessor_config.json"
MODEL = "an image model"


class PretrainedConfig(Config):
    """An image model of transformers (CLIP, SigLIP, ViT, DINOv2, ResNet, ...) in a local folder or by its Hub id."""

    kind: Literal["pretrained"] = "pretrained"
    path: str = Field(min_length=1)
    """A folder, or a Hub id such as openai/clip-vit-base-patch32 (from the local cache, else downloaded)."""

    def build(self) -> "Pretrained":
        """The embedder; its files are read at the first use."""
        return Pretrained(self.path)


class Pretrained:
    """States of a frozen image model in float32: its last hidden layer, or one state a photo.

    x = (pixel * rescale - mean) / sd a channel, as the image processor beside the model says. Pooled is the vector in
    the space shared with texts where the model has one (CLIP, SigLIP); else what its pooler gives, if the weights have
    it; else the mean of the last states. Photos come cropped to a square, also for models that were trained on squeezed
    ones. Weights are read from safetensors alone, and no code of the folder is run.

    Errors: FileError for a folder that holds no such model, or no image processor.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @cached_property
    def folder(self) -> Path:
        """Where the model's files lie."""
        return _cached(self.path) or model_folder(self.path)

    @cached_property
    def revision(self) -> str:
        """The sha256 of the configuration and the weights, shortened."""
        return folder_revision(self.folder)

    @cached_property
    def side(self) -> int:
        """The width and height that the image processor brings photos to, else the model's own."""
        config = self._config.to_dict()
        size: Any = (self._processor.get("crop_size") if self._processor.get("do_center_crop") else None) or (
            self._processor.get("size") or (config.get("vision_config") or config).get("image_size")
        )
        if isinstance(size, dict):
            size = size.get("shortest_edge") or size.get("height")
        if not isinstance(size, int) or size < 1:
            raise FileError("names no size of photos", where=str(self.folder / PROCESSOR), fix="give it a `size`")
        return size

    @cached_property
    def _processor(self) -> dict[str, Any]:
        path = self.folder / PROCESSOR
        if not path.is_file():
            fix = "save the model's image processor beside it"
            raise FileError(f"holds no image processor ({PROCESSOR})", where=str(self.folder), fix=fix)
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise FileError(f"can't be read: {error}", where=str(path)) from None
        return found if isinstance(found, dict) else {}

    @cached_property
    def _scale(self) -> tuple[float, Any, Any]:
        """What a pixel is multiplied with, and the mean and sd of the product. Shape: mean, sd (3, 1, 1)."""
        import torch

        said = self._processor
        rescale = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
        norm = said.get("do_normalize", True)
        if norm and not ("image_mean" in said and "image_std" in said):
            raise FileError("names no image_mean and image_std", where=str(self.folder / PROCESSOR))
        mean, sd = (said["image_mean"], said["image_std"]) if norm else (0.0, 1.0)
        centre, spread = (torch.tensor(each).expand(3).reshape(3, 1, 1) for each in (mean, sd))
        return rescale, centre, spread

    def encode(
        self, photos: NDArray[np.uint8], tokens: PhotoTokens = "pooled", device: Device = "auto"
    ) -> NDArray[np.float32]:
        """The states of RGB photos. Shape: (n, side, side, 3) -> (n, 1, e), or (n, t, e) the last hidden layer."""
        import torch

        assert photos.dtype == np.uint8
        place = chosen(device)
        rescale, mean, sd = self._scale
        model, pooler = self._model
        pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float() * rescale
        with torch.inference_mode(), loading(self.folder, "run on photos", MODEL):
            states = _states(model.to(place), ((pixels - mean) / sd).to(place), tokens, pooler)
            found: NDArray[np.float32] = states.float().contiguous().cpu().numpy()
        return found

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        said = json.loads((self.folder / "config.json").read_bytes())
        if "model_type" not in said and "architecture" in said:
            raise FileError(
                "is a model of timm, which plait does not run: timm brings torchvision, and so another build of torch",
                where=str(self.folder), fix="make the array with timm elsewhere, and give it as a source with its ids",
            )  # fmt: skip
        with loading(self.folder, give=MODEL):
            return AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)

    @cached_property
    def _model(self) -> tuple[Any, bool]:
        """The model, and whether its weights have what a pooler of it needs."""
        model, pooler = loaded(self.folder, self._config, MODEL)
        return model.eval().requires_grad_(False), not pooler


def _states(model: Any, pixels: Any, tokens: PhotoTokens, pooler: bool) -> Any:
    """Shape: (n, 3, side, side) -> (n, t, e)."""
    joint = hasattr(model, "get_image_features")
    out = model.get_image_features(pixel_values=pixels) if joint else model(pixel_values=pixels)
    last = out.last_hidden_state
    last = last if last.ndim == 3 else last.flatten(2).transpose(1, 2)  # convolutions give maps (n, e, h, w)
    if tokens == "patches":
        return last
    one = getattr(out, "pooler_output", None) if pooler else None
    return last.mean(dim=1, keepdim=True) if one is None else one.reshape(len(one), 1, -1)


def _cached(path: str) -> Path | None:
    """The snapshot of a Hub id in the local cache, if it is whole: an image model needs no tokenizer."""
    if Path(path).expanduser().exists() or not HUB_ID.fullmatch(path):
        return None
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(path, local_files_only=True, allow_patterns=NEEDED, ignore_patterns=["*/*"])
        folder = checked(Path(found))
    except (OSError, ValueError, FileError):  # not there, or not whole
        return None
    return folder if (folder / PROCESSOR).is_file() else None
