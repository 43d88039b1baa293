"""What requests and answers about duplicates and reviews consist of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from .numbers import RowId
from .schemas import Row
from .schemas_writing import MAX_ROWS, Body, Label


class Group(BaseModel):
    """Rows that are the same, or nearly."""

    id: str
    similarity: float = Field(description='each row is at least so similar to another one of the group')
    same_content: bool = Field(description='whether the files are equal, byte by byte')
    rows: list[Row]


class Duplicates(BaseModel):
    """A page of groups, the most similar first."""

    gallery: str
    generation: int
    job: str | None = Field(description='the search for duplicates that found them; null if there was none yet')
    total: int = Field(description='groups about which nobody has decided')
    groups: list[Group]
    next: str | None = Field(description='cursor of the next page; null on the last one')


class Decision(Body):
    """What becomes of a group."""

    action: Literal['keep', 'remove', 'distinct'] = Field(
        description='keep: they are duplicates and stay; distinct: they are none; remove: all but those to keep'
    )
    keep: list[RowId] = Field([], max_length=MAX_ROWS, description='rows that stay, where the others are removed')


class Suggestion(BaseModel):
    """A label that a row may have."""

    label: str
    name: str
    share: float = Field(description='how likely, 0 to 1; of a gallery that is not tuned, its part of the votes')


class ReviewItem(BaseModel):
    """A row to look at."""

    row: Row
    reason: str
    suggestions: list[Suggestion] = Field(description='up to five, the likeliest first')


class Reviews(BaseModel):
    """A page of rows to look at."""

    gallery: str
    generation: int
    kind: str
    total: int
    items: list[ReviewItem]
    next: str | None = Field(description='cursor of the next page; null on the last one')


class Reviewed(Body):
    """The label of a row, as a person sees it."""

    label: Label | None = Field(description='null for unknown')
    and_similar: list[RowId] = Field([], max_length=MAX_ROWS, description='further rows with this label')
