"""Tiny random transformers models with tokenizers of their own, saved as folders, and their states computed apart."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz?"
WORDS = "orders will rise sharp within the next while stocks of wheat fall again"

# With the usual small weights all tokens are attended alike, and a wrong mask would hardly show.
SPREAD = {"initializer_range": 0.3}


@dataclass(frozen=True)
class Tiny:
    """A saved model, the width of its states, and what it says of one text alone, without padding."""

    folder: Path
    width: int
    tokenizer: Tokenizer
    body: Callable[[torch.Tensor], torch.Tensor]

    def states(self, text: str, cut: int) -> np.ndarray:
        """Shape: (m, e)."""
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(cut)
        with torch.no_grad():
            return self.body(torch.tensor([self.tokenizer.encode(text).ids]))[0].numpy()


def _saved(folder: Path, model: Any, tokenizer: Tokenizer, width: int, body: Any, **settings: Any) -> Tiny:
    model.eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tiny(folder, width, tokenizer, lambda ids: body(input_ids=ids).last_hidden_state)


def tiny_bert(folder: Path) -> Tiny:
    """A masked language model over WordPiece, with [CLS] and [SEP], saved without a pooler."""
    from transformers import BertConfig, BertForMaskedLM

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), "##ly", "fort", "##night"]
    pieces += [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    torch.manual_seed(3)
    sizes = {"hidden_size": 21, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 11}
    model = BertForMaskedLM(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=31, **SPREAD, **sizes))
    return _saved(folder, model, tokenizer, 21, model.bert, tokenizer_class="BertTokenizer", model_max_length=31)


def _bytes_bpe(*special: str) -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "w"), ("r", "d"), ("s", "t"), ("a", "l"), ("al", "l"), ("Ġw", "h")]
    pieces = [*special, *letters, *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tiny_gpt2(folder: Path) -> Tiny:
    """A causal language model over bytes, without a padding or a beginning token."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _bytes_bpe("<|endoftext|>")
    torch.manual_seed(5)
    size = {"n_embd": 22, "n_head": 2, "n_layer": 2, "n_positions": 127, "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=tokenizer.get_vocab_size(), **SPREAD, **size))
    end = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return _saved(folder, model, tokenizer, 22, model.transformer, tokenizer_class="GPT2Tokenizer", **end)


def tiny_llama(folder: Path) -> Tiny:
    """A causal language model saved in bfloat16, whose texts begin with <s>; no padding token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _bytes_bpe("<s>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    torch.manual_seed(11)
    sizes = {"hidden_size": 28, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 13}
    names = {"bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 127, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=tokenizer.get_vocab_size(), **SPREAD, **sizes, **names)
    small, model = LlamaForCausalLM(config).to(torch.bfloat16), LlamaForCausalLM(config).eval()
    model.load_state_dict(small.state_dict())
    ends = {"bos_token": "<s>", "eos_token": "</s>"}
    return _saved(folder, small, tokenizer, 28, model.model, tokenizer_class="PreTrainedTokenizerFast", **ends)


def tiny_t5(folder: Path) -> Tiny:
    """An encoder with a decoder that is not used; texts end with </s>."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _bytes_bpe("<pad>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    torch.manual_seed(13)
    sizes = {"d_model": 14, "d_kv": 7, "num_heads": 2, "num_layers": 2, "d_ff": 11}
    names = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    model = T5ForConditionalGeneration(T5Config(vocab_size=tokenizer.get_vocab_size(), **sizes, **names))
    ends = {"pad_token": "<pad>", "eos_token": "</s>"}
    return _saved(folder, model, tokenizer, 14, model.encoder, tokenizer_class="PreTrainedTokenizerFast", **ends)
