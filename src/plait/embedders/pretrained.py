"""`pretrained`: the last hidden states of any transformers encoder or causal language model."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plait.core.config import Config
from plait.core.errors import ConfigError, FileError
from plait.embedders._folder import folder_revision, loaded, loading, model_folder
from plait.embedders._pieces import spelled

BATCH = 32


class PretrainedConfig(Config):
    """A transformers model (BERT, GPT-2, Llama, Qwen, ...) in a local folder or by its Hub id."""

    kind: Literal["pretrained"] = "pretrained"
    path: str = Field(min_length=1)
    """A folder, or a Hub id such as google-bert/bert-base-uncased (from the local cache, else downloaded)."""

    def build(self) -> "Pretrained":
        """The embedder; its files are read at the first use."""
        return Pretrained(partial(model_folder, self.path))


class Pretrained:
    """Token states of a frozen transformers model: its last hidden layer, in float32, without dropout.

    Texts are run in batches of similar length, so that padding is small; a text's states do not depend on the others
    (to 1e-5). Special tokens are kept as the model expects them and count as tokens. A GPU is used where there is one.
    """

    fits: ClassVar[bool] = False

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find

    @cached_property
    def folder(self) -> Path:
        """Where the model's files lie."""
        return self._find()

    @cached_property
    def revision(self) -> str:
        """The sha256 of the configuration, the weights and the tokenizer, shortened."""
        return folder_revision(self.folder)

    @cached_property
    def dim(self) -> int:
        """The width of the last hidden layer."""
        inner = self._config.get_text_config()
        width = getattr(inner, "hidden_size", None) or getattr(inner, "n_embd", None)
        if not isinstance(width, int):
            raise FileError("names no hidden_size", where=str(self.folder / "config.json"))
        return width

    def length(self, max_tokens: int) -> int:
        """One state a token."""
        return max_tokens

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The states of each text's first `max_tokens` tokens, special tokens counted.

        Shape: states (n, max_tokens, e), mask (n, max_tokens).
        Mask: a text without a token of its own is absent; states beyond a text's end are 0.
        """
        states = np.zeros((len(texts), max_tokens, self.dim), dtype=np.float32)
        mask = np.zeros((len(texts), max_tokens), dtype=bool)
        ids = self._ids(texts, max_tokens)
        order = sorted((row for row in range(len(texts)) if ids[row]), key=lambda row: len(ids[row]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            hidden = self._run([ids[row] for row in rows])
            for row, found in zip(rows, hidden, strict=True):
                count = len(ids[row])
                states[row, :count] = found[:count]
                mask[row, :count] = True
        return states, mask

    def pieces(self, texts: Sequence[str], max_tokens: int) -> list[list[str]]:
        """The letters of each text's first `max_tokens` tokens, a piece a token; special tokens by their own names."""
        found = []
        for text, ids in zip(texts, self._ids(texts, max_tokens), strict=True):
            names = self._tokenizer.convert_ids_to_tokens(ids)
            if ids and self._tokenizer.is_fast:
                plain = text.encode("utf-8", "replace").decode()
                cut: Any = {"truncation": True, "max_length": max_tokens, "return_offsets_mapping": True}
                names = spelled(plain, names, self._tokenizer(plain, **cut)["offset_mapping"])
            found.append(names)
        return found

    def _ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Token ids; none for a text that is empty, white space, or has no token but the special ones."""
        special = len(self._tokenizer("")["input_ids"])
        self._check_cut(max_tokens, special)
        # The tokenizer takes no lone surrogates.
        plain = [text.encode("utf-8", "replace").decode() for text in texts]
        if not plain:
            return []
        found: list[list[int]] = self._tokenizer(plain, truncation=True, max_length=max_tokens)["input_ids"]
        rows = self._model.get_input_embeddings().weight.shape[0]
        largest = max((max(ids) for ids in found if ids), default=0)
        if largest >= rows:
            raise FileError(
                f"the tokenizer has a token {largest}, the model knows {rows}", where=str(self.folder),
                fix="save the tokenizer that the model was trained with",
            )  # fmt: skip
        return [ids if text.strip() and len(ids) > special else [] for text, ids in zip(texts, found, strict=True)]

    def _check_cut(self, max_tokens: int, special: int) -> None:
        if max_tokens <= special:
            raise ConfigError(
                f"max_tokens {max_tokens} leaves no room: the model adds {special} tokens of its own",
                where="data.text.max_tokens",
                fix=f"set max_tokens to {special + 1} or more",
            )  # fmt: skip
        places = getattr(self._config.get_text_config(), "max_position_embeddings", None)
        # Some models count positions from beyond their padding id; their tokenizer knows the true limit.
        known = isinstance(places, int) and places > 0
        limit = min(self._tokenizer.model_max_length, places if known else max_tokens)
        if max_tokens > limit:
            raise ConfigError(
                f"max_tokens {max_tokens} is more than the {limit} the model reads", where="data.text.max_tokens",
                fix=f"set max_tokens to {limit} or less",
            )  # fmt: skip

    def _run(self, ids: list[list[int]]) -> NDArray[np.float32]:
        """The last hidden layer of a batch, padded on the right. Shape: (b, m, e)."""
        import torch

        pad = self._tokenizer.pad_token_id
        pad = self._tokenizer.eos_token_id if pad is None else pad
        width = max(map(len, ids))
        tokens = torch.full((len(ids), width), pad or 0)
        seen = torch.zeros((len(ids), width), dtype=torch.long)
        for row, found in enumerate(ids):
            tokens[row, : len(found)] = torch.tensor(found)
            seen[row, : len(found)] = 1
        device = self._model.device
        with torch.no_grad():
            out = self._model(input_ids=tokens.to(device), attention_mask=seen.to(device)).last_hidden_state
        if out.shape[2] != self.dim:
            raise FileError(
                f"its states have width {out.shape[2]}, its hidden_size is {self.dim}", where=str(self.folder),
                fix="choose a model whose output has the width of its hidden layers",
            )  # fmt: skip
        hidden: NDArray[np.float32] = out.float().cpu().numpy()
        return hidden

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        with loading(self.folder):
            config = AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        config.use_cache = False
        return config

    @cached_property
    def _tokenizer(self) -> Any:
        # The Rust tokenizer warns when a process that used it forks; it is not worth a thread pool here.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from transformers import AutoTokenizer

        with loading(self.folder):
            tokenizer = AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False, truncation_side="right"
            )
        # Without its files a tokenizer is made all the same, and takes every word for unknown.
        files = tokenizer.vocab_files_names.values()
        if files and not any((self.folder / name).is_file() for name in (*files, "tokenizer.json")):
            raise FileError("holds no tokenizer", where=str(self.folder), fix="save the model's tokenizer beside it")
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        import torch

        model, _ = loaded(self.folder, self._config)
        if self._config.is_encoder_decoder:
            model = model.get_encoder()
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
