"""`wordllama`: static token vectors from inside a wheel, without a network."""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from plait.core.config import Config
from plait.core.errors import FileError
from plait.embedders._pieces import spelled


class WordLlamaConfig(Config):
    """Static token vectors of the package `wordllama` (256 wide)."""

    kind: Literal["wordllama"] = "wordllama"

    def build(self) -> "WordLlama":
        """The embedder; its files are read at the first use."""
        return WordLlama()


class WordLlama:
    """Token vectors looked up in a table of 32,000 x 256 float16.

    The package's own loader is not used: it looks in another folder than the wheel has and then asks the network.
    """

    fits: ClassVar[bool] = False
    dim = 256

    @cached_property
    def _root(self) -> Path:
        spec = find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise FileError("the package wordllama is not installed", fix="pip install wordllama")
        return Path(spec.origin).parent

    @cached_property
    def revision(self) -> str:
        """The sha256 of the weights' file, shortened."""
        path = self._root / "weights" / "l2_supercat_256.safetensors"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    @cached_property
    def _table(self) -> NDArray[np.float16]:
        from safetensors.numpy import load_file

        return load_file(self._root / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]

    @cached_property
    def _tokenizer(self) -> Any:
        # The Rust tokenizer warns when a process that used it forks; it is not worth a thread pool here.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._root / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        tokenizer.no_padding()
        return tokenizer

    def length(self, max_tokens: int) -> int:
        """One state a token."""
        return max_tokens

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The states of each text's first `max_tokens` tokens.

        Shape: states (n, max_tokens, 256), mask (n, max_tokens).
        Mask: an empty text has no token; states beyond a text's end are 0.
        """
        states = np.zeros((len(texts), max_tokens, self.dim), dtype=np.float32)
        mask = np.zeros((len(texts), max_tokens), dtype=bool)
        for row, (_, encoding) in enumerate(self._cut(texts, max_tokens)):
            ids = encoding.ids
            states[row, : len(ids)] = self._table[ids]
            mask[row, : len(ids)] = True
        return states, mask

    def pieces(self, texts: Sequence[str], max_tokens: int) -> list[list[str]]:
        """The letters of each text's first `max_tokens` tokens, a piece a token."""
        return [spelled(text, found.tokens, found.offsets) for text, found in self._cut(texts, max_tokens)]

    def _cut(self, texts: Sequence[str], max_tokens: int) -> list[tuple[str, Any]]:
        """Each text as the tokenizer reads it, and its first `max_tokens` tokens; none for white space."""
        self._tokenizer.enable_truncation(max_tokens)
        # The tokenizer takes no lone surrogates, and gives white space a token.
        plain = [text.encode("utf-8", "replace").decode() if text.strip() else "" for text in texts]
        return list(zip(plain, self._tokenizer.encode_batch(plain, add_special_tokens=False), strict=True))
