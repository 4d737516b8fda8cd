"""The public conformance suite: hold a part, ours or your own, to the contract that every recipe relies on.

In a test of your own package, give it the config of your part (`graphs=False` leaves out what costs seconds):

>>> from typing import ClassVar, Literal
>>> import torch
>>> from torch import nn
>>> from plait.core.config import Config
>>> from plait.core.tokens import Tokens, anchored
>>> from plait.nn.contexts import Contexts
>>> from plait.nn.pool import masked_mean
>>> class ScaleConfig(Config):
...     anchored: ClassVar[bool] = True
...     closed: ClassVar[bool] = True
...     kind: Literal["scale"] = "scale"
...     start: float = 0.0
...
...     def build(self, schema):
...         return Scale(schema, self.start)
>>> class Scale(nn.Module):
...     def __init__(self, schema, start):
...         super().__init__()
...         self.anchor, self.dim = schema.anchor, schema.streams[schema.anchor]
...         self.contexts = Contexts({name: schema.streams[name] for name in schema.contexts}, self.dim)
...         self.weight = nn.Parameter(torch.full((self.dim,), start))
...
...     def forward(self, streams, notes=None):
...         anchor, contexts = anchored(streams, self.anchor)
...         if not contexts:
...             return anchor
...         context = self.contexts(contexts)
...         scaled = anchor.x * (1 + self.weight * masked_mean(context)[:, None])
...         return Tokens(torch.where(context.present[:, None, None], scaled, anchor.x), anchor.mask)
>>> check_fusion(ScaleConfig(), graphs=False)

What breaks a law is told by its name:

>>> check_fusion(ScaleConfig(start=0.1))  # doctest: +ELLIPSIS
Traceback (most recent call last):
AssertionError: fusion 'scale' (float32) breaks the law closed_start: at initialisation (evaluation mode), ...
"""

from plait.testing.encoders import check_encoder
from plait.testing.fusion import check_fusion
from plait.testing.heads import check_head
from plait.testing.models import check_model

__all__ = ["check_encoder", "check_fusion", "check_head", "check_model"]
