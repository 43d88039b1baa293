"""What requests and answers consist of; the OpenAPI description is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .numbers import RowId
from .settings import MAX_PHOTOS

MAX_HITS = 200
_Box = Annotated[list[float], Field(min_length=4, max_length=4, description='x0, y0, x1, y1 in pixels, upright photo')]
_Condition = Annotated[str, Field(max_length=10_000)]
_Name = Annotated[str, Field(max_length=300)]


class Asked(BaseModel):
    """What is asked with: photos beside this, or one by its address, or a row of the gallery, or a text."""

    model_config = ConfigDict(extra='forbid', allow_inf_nan=False)

    gallery: _Name | None = Field(None, description='name of a gallery; the first by default')
    id: RowId | None = Field(None, description='a row to ask with, in place of photos')
    text: str | None = Field(None, min_length=1, max_length=1000, description='a text to ask with, for CLIP and SigLIP')
    url: str | None = Field(
        None, min_length=1, max_length=2000, description='https address of a photo, where the server reads its host'
    )
    boxes: list[_Box | None] = Field([], max_length=MAX_PHOTOS, description='the part of each photo to look at')
    where: list[_Condition] = Field([], max_length=50, description='conditions as label=Wren, year>=2019, "a in b,c"')
    space: _Name | None = Field(None, description='embeddings to compare, as global or global=0.5,crop=0.5')
    exclude_same: bool = Field(False, description='leave out rows whose file is that of the query')


class Recognised(Asked):
    """What changes which classes are likely; not what is found."""

    only: list[_Name] = Field([], max_length=2000, description='names of the classes that can be the answer')
    lat: float | None = Field(None, ge=-90, le=90, description='where it was taken, in place of what EXIF data says')
    lon: float | None = Field(None, ge=-180, le=180, description='see lat')
    when: str | None = Field(None, max_length=100, description='date, as 2024-05-01 or 2024-05, likewise')


class SearchRequest(Recognised):
    """A search for similar photos."""

    k: int = Field(20, ge=1, le=MAX_HITS, description='hits')
    rerank: _Name | None = Field(None, description='k-reciprocal, query-expansion or region')
    depth: int = Field(100, ge=1, le=1000, description='hits that are re-ranked')
    group_by: _Name | None = Field(None, description='column, of whose every value the best row is a hit')
    maps: bool = Field(False, description='tell of each hit where the model looked')


class Side(BaseModel):
    """Where to search."""

    model_config = ConfigDict(extra='forbid')

    gallery: _Name | None = Field(None, description='name of a gallery; that of the request by default')
    space: _Name | None = Field(None, description='embeddings to compare; those of the request by default')


class CompareRequest(SearchRequest):
    """The same search twice."""

    sides: list[Side] = Field(min_length=2, max_length=2, description='where to search; a row is one of the first')


class IdentifyRequest(Recognised):
    """A question for the class."""

    neighbors: int = Field(10, ge=1, le=MAX_HITS, description='nearest photos that vote')
    temperature: float = Field(0.07, gt=0, le=100, description='of the vote: the smaller, the more the nearest count')
    threshold: float | None = Field(None, description='least support of a class; below it, the answer is unknown')


class ExplainRequest(Asked):
    """A question why a row is a hit."""

    hit: RowId = Field(description='row that was found')


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class Map(BaseModel):
    """Where the model looked: scores of patches, row by row, 0 to 255."""

    rows: int
    columns: int
    values: list[int]
    area: list[float] | None = Field(description='the part of the photo that it covers; null for all of it')


class Query(BaseModel):
    """What was asked with."""

    id: RowId | None = None
    text: str | None = None
    size: list[int] | None = Field(None, description='width and height of the upright photo')
    box: list[float] | None = Field(None, description='the region that the model selected by itself')
    map: Map | None = None
    error: str | None = Field(None, description='why this photo cannot be used')


class Row(BaseModel):
    """A row of a gallery."""

    id: RowId
    path: str
    label: str | None
    name: str | None = Field(description='the label as people write it')
    split: str | None
    size: list[int] | None
    box: list[float] | None
    map_area: list[float] | None
    has_map: bool
    has_photo: bool
    metadata: dict[str, Any]


class Hit(Row):
    """A row that was found."""

    rank: int
    score: float
    map: Map | None = Field(None, description='where maps were asked for')


class Vote(BaseModel):
    """A class among the nearest photos."""

    label: str
    name: str
    share: float = Field(description='its part of the votes, 0 to 1')
    similarity: float = Field(description='of its nearest photo')
    count: int = Field(description='how many of the nearest photos are of it')


class Answer(BaseModel):
    """What the nearest photos say, in a tuned gallery (``glsim classify --tune``) what its recogniser says."""

    kind: str = Field(description='clear, likely, split, unknown or nothing')
    label: str | None
    name: str | None
    share: float = Field(description='part of the votes, 0 to 1; it is no calibrated probability')
    support: float = Field(description='low where neighbours disagree or are far; what a threshold is compared with')
    neighbors: int
    count: int = Field(description='how many of the neighbours are of this class')
    similarity: float | None = Field(description='of the nearest photo')
    sentence: str = Field(description='the answer with its reason, in English')
    basis: Literal['recogniser', 'filtered', 'asked', 'untuned'] = Field(
        description='what the answer comes from: the recogniser of a tuned gallery, on all rows or on those that pass '
        'the filter; else the vote of the nearest photos, because the question names neighbors, temperature or '
        'threshold, or because the gallery is not tuned'
    )
    note: str = Field(description='why it is a vote, or has no probability, in English; else empty')
    probability: float | None = Field(description='that it is right; null where the gallery is not tuned')
    decision: Literal['accept', 'look', 'unknown'] | None = Field(
        description='accept: of such answers 97 % are right; null where the gallery is not tuned'
    )


class Passed(BaseModel):
    """How many rows could be found."""

    rows: int
    of: int
    note: str = Field(description='why no row passed the filter; else empty')


class IdentifyAnswer(BaseModel):
    """The class of what was asked with."""

    gallery: str
    generation: int
    queries: list[Query]
    answer: Answer | None = Field(description='null for texts, whose neighbours are of no class by their similarity')
    votes: list[Vote]
    passed: Passed
    milliseconds: dict[str, float]


class SearchAnswer(IdentifyAnswer):
    """What was found."""

    hits: list[Hit]


class CompareAnswer(BaseModel):
    """What was found on both sides."""

    sides: list[SearchAnswer]
    common: list[str] = Field(description='paths among the hits of both, in the order of the first')


class Pair(BaseModel):
    """A patch of the query and one of the hit that are alike."""

    similarity: float
    weight: float
    query_box: list[float] | None
    box: list[float] | None
    query_patch: int = Field(description='its number among the patches of the query that were compared')
    patch: int = Field(description='likewise of the hit')


class ExplainAnswer(BaseModel):
    """Which patches of a hit are like which of the query."""

    gallery: str
    hit: Row
    query: Query
    region_similarity: float | None
    pairs: list[Pair]
    unexplained: str = Field(description='why nothing can be told; else empty')
    milliseconds: dict[str, float]


class Rows(BaseModel):
    """A page of rows."""

    gallery: str
    generation: int
    total: int
    rows: list[Row]
    next: str | None = Field(description='cursor of the next page; null on the last one')


class SimilarRows(BaseModel):
    """Rows that are similar to one."""

    rows: list[Hit]


class ClassCount(BaseModel):
    """A class and its rows; a label of null stands for the rows without one."""

    label: str | None
    name: str | None = Field(description='the label as people write it')
    count: int
    prototype: RowId | None = Field(None, description='its most typical row, where prototypes were asked for')


class NearClass(BaseModel):
    """A class that another one may be taken for."""

    label: str
    name: str
    similarity: float = Field(description='of the means of both classes, -1 to 1')
    confused: float | None = Field(description='share of photos that are taken for this class; null if none was asked')
    pair: list[Row] = Field(description='the most similar rows: of the class itself, and of this one')


class ClassDetails(BaseModel):
    """What an identification guide shows of a class."""

    label: str
    name: str
    count: int
    recognised: float | None = Field(description='share of photos that the others recognise; null if none was asked')
    prototypes: list[Row] = Field(description='typical rows that differ from each other, the most typical first')
    nearest: list[NearClass] = Field(description='those it is most often taken for, then those most alike')


class ValueCount(BaseModel):
    """A value of a column and its rows."""

    value: str | int | float
    count: int


class ColumnValues(BaseModel):
    """What a column holds."""

    values: list[ValueCount] = Field(description='the most frequent first')
    distinct: int = Field(description='how many values there are in all')


class GalleryInfo(BaseModel):
    """A gallery."""

    name: str
    rows: int
    generation: int
    metric: str
    spaces: dict[str, int]
    columns: dict[str, str]
    model: str
    batch: int = Field(description='photos that the model computes in one pass, at most')
    has_regions: bool
    keeps_patches: bool
    reads_text: bool
    writable: bool = Field(description='whether the server was started to change it')
    has_prior: bool = Field(description='whether place and season count: lat, lon and when of requests')
    has_recogniser: bool = Field(description='whether answers have a probability')


class Info(BaseModel):
    """What is served."""

    version: str
    role: str = Field(description='what the token that was sent may do: read, label or admin')
    galleries: list[GalleryInfo]
    rerank: list[str]
    addresses: list[str] = Field(description='hosts of which photos can be searched with by their addresses')
    limits: dict[str, int]
