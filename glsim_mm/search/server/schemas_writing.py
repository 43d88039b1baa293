"""What requests that write, and their answers, consist of."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, model_validator

from .numbers import RowId

MAX_ROWS = 100_000
"""Most rows that a request may name."""

_Value: TypeAlias = Annotated[StrictStr, Field(max_length=10_000)] | StrictInt | StrictFloat | None
_Column = Annotated[str, Field(min_length=1, max_length=300)]
Condition = Annotated[str, Field(max_length=10_000)]
Label = Annotated[str, Field(min_length=1, max_length=1000, pattern=r'\S')]


def _check_values(values: dict[str, Any]) -> dict[str, Any]:
    if any(name.lower() == 'path' for name in values):
        raise ValueError('path says where the photo lies, and is changed by glsim sync alone')
    if any(isinstance(value, str) and not value.strip() for value in values.values()):
        raise ValueError('a text must not be empty: null stands for no value')
    return values


Metadata = Annotated[dict[_Column, _Value], Field(max_length=100), AfterValidator(_check_values)]
"""Values by column."""


class Body(BaseModel):
    """A request that writes; unknown fields are refused."""

    model_config = ConfigDict(extra='forbid', allow_inf_nan=False)

    gallery: Annotated[str, Field(max_length=300)] | None = Field(
        None, description='name of a gallery; the first by default'
    )


class RowValues(Body):
    """New values of one row."""

    values: Annotated[Metadata, Field(min_length=1)] = Field(
        description='by column: label, split or one of metadata; null for no value'
    )


class ChosenRows(Body):
    """Rows, by their ids or by a filter."""

    ids: list[RowId] | None = Field(None, min_length=1, max_length=MAX_ROWS, description='rows, each once')
    where: list[Condition] | None = Field(None, min_length=1, max_length=50, description='conditions, in place of ids')

    @model_validator(mode='after')
    def _one_of_both(self) -> ChosenRows:
        if (self.ids is None) == (self.where is None):
            raise ValueError('say which rows: by ids, or by where')
        return self


class LabelRows(ChosenRows):
    """One label for several rows."""

    label: Label | None = Field(description='null for unknown')


class Undo(Body):
    """What is taken back."""

    skip_changed: bool = Field(False, description='leave out rows that were changed since, in place of refusing all')


class Written(BaseModel):
    """What was written."""

    gallery: str
    generation: int = Field(description='of the gallery now; the header ETag has it too')
    changed: int = Field(description='rows')
    change: RowId | None = Field(description='what POST /undo/{change} takes back; null if nothing was changed')


class Change(BaseModel):
    """Something that was changed in a gallery."""

    id: RowId
    time: str = Field(description='ISO 8601, UTC')
    what: str
    rows: int
    by: str
    undone: bool = Field(description='whether it has been taken back')
    can_undo: bool = Field(description='false where it was taken back, or rows have changed since')


class Changes(BaseModel):
    """The last changes of a gallery."""

    gallery: str
    generation: int
    changes: list[Change] = Field(description='the newest first')


class Job(BaseModel):
    """Something long that the server does."""

    id: str
    kind: str
    gallery: str
    state: str = Field(description='waiting, running, done, failed, cancelled or interrupted (the server was stopped)')
    done: int
    total: int = Field(description='0 if that is not known')
    message: str = Field(description='a sentence about how it goes, or has ended')
    result: dict[str, Any]
    unreadable: list[dict[str, str]] = Field(description='name and reason of photos that cannot be used')
    created: str
    finished: str | None


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[Job]
