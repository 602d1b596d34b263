"""Types of the store's columns that SQLite and PostgreSQL would else understand differently."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from acoustic_ad.sound.clip import printable_text


class Text(sa.types.TypeDecorator[str]):
    r"""Text that SQLite and PostgreSQL keep and sort alike.

    PostgreSQL takes no NUL, and no database takes half a surrogate pair: both are stored printable (`\x00`). Names of
    clips and machines never hold either; words of a decoder or of a driver may.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The collation of the server's locale would sort by language, and use no index for it."""
        return dialect.type_descriptor(sa.Text(collation="C") if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """The text as it can be stored."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return printable_text(value).replace("\0", r"\x00")


# SQLite counts rows in 64 bits by itself, and only where the type is called INTEGER.
RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
