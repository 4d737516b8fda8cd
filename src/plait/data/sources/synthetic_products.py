"""`synthetic_products`: products whose price depends on picture and text together: the positive control."""

from typing import Literal

import pandas as pd
from pydantic import Field

from plait.core.errors import ConfigError
from plait.data.embedding_files import Embeddings
from plait.data.product_table import ProductTable, product_table
from plait.data.sources.products import ProductsSourceConfig
from plait.features.synthetic_products import SOURCES, WIDTHS, generate

OF_FILES = ("path", "id", "price", "numbers", "categories", "sources", "log", "ratios", "group_by")
"""Fields of a table in files, which these data have none of."""


class SyntheticProductsConfig(ProductsSourceConfig):
    """Four sources of embeddings and a price, made anew from a seed."""

    kind: Literal["synthetic_products"] = "synthetic_products"  # type: ignore[assignment]
    path: str = ""
    """There is no file."""
    rows: int = Field(4000, ge=50)
    """Number of products."""
    noise: float = Field(0.3, ge=0)
    """Sd of what no source tells of the log price."""
    widths: list[int] = Field(list(WIDTHS), min_length=4, max_length=4)
    """Numbers of a vector of image_a, image_b, text_a and text_b."""
    missing: float = Field(0.0, ge=0, le=0.5)
    """Share of the rows that lack each source, never both of a picture or of a text."""
    draw: int = Field(0, ge=0)
    """Seed of the generator."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the four sources."""
        return SOURCES

    def check(self) -> None:
        """Refuse what only a table in files has. Errors: ConfigError."""
        given = [name for name in OF_FILES if getattr(self, name)]
        if given:
            raise ConfigError(
                "synthetic products bring their own table", where=f"data.{given[0]}",
                fix="leave it out, or use data.kind products",
            )  # fmt: skip

    def read(self) -> ProductTable:
        """The table of the products that the generator draws."""
        self.check()
        made = generate(self.rows, self.noise, tuple(self.widths), self.missing, self.draw)
        ids = [f"p{number:0{len(str(self.rows))}d}" for number in range(1, self.rows + 1)]
        sources = [
            Embeddings.of(name, [ids[row] for row in made.present[name].nonzero()[0]], vectors[made.present[name]])
            for name, vectors in made.sources.items()
        ]
        frame = pd.DataFrame({"id": ids, "price": [repr(float(price)) for price in made.price]})
        return product_table(frame, "synthetic products", sources=sources)
