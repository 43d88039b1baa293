"""What the properties of a collection say about the gallery in it: its definition, and writes that have begun."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import RetrievalError
from ..gallery.contract import Fingerprint, Manifest
from .collection import MilvusLocation

FORMAT = 3  # 1: one writer at a time, ids counted from 0, see read_state; 2: one root
NOTE = 'gallery.note.'  # key of a note, followed by the number of whoever writes
CLEAR_UP = 'if it no longer runs, clear up after it: glsim remove GALLERY --unfinished'
_COLUMN = 'gallery.column.'
_ORIGIN = 'gallery.origin.'
_OLD_NOTE = 'gallery.pending'  # of format 1


@dataclass(frozen=True)
class Note:
    """What a writer notes before its first call and removes after its last; see :mod:`retrieval.milvus.writes`.

    Attributes:
        number: Number of the write.
        kind: ``'add'``, ``'update'`` or ``'remove'``.
        rows: Number of rows that it writes.
        claimed: Smallest and largest of the ids that no other writer may touch meanwhile; None for new ids of its own.
        columns: Metadata columns that it adds, with their types.
        patch_shape: O and C of the patches that it writes; None for none.
        host: Name of the machine, for people.
        process: Process id, for people.
        identity: Identifies the process for certain, see :func:`process_identity`.
        failed: Whether its writer has given up.
        key: Key of the property.
    """

    number: int
    kind: str = 'add'
    rows: int = 0
    claimed: tuple[int, int] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    patch_shape: list[int] | None = None
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    identity: str = field(default_factory=lambda: process_identity(os.getpid()))
    failed: bool = False
    key: str = ''

    def to_json(self) -> str:
        """The property's value."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != 'key'})

    @classmethod
    def from_json(cls, key: str, text: str) -> Note:
        """The note of a property."""
        values = json.loads(text)
        if key == _OLD_NOTE:
            return cls(values['write_number'], host=values['host'], process=values['process'], identity='', key=key)
        claimed = values.pop('claimed')
        return cls(**values, claimed=None if claimed is None else tuple(claimed), key=key)

    def runs_here(self) -> bool:
        """Whether its writer certainly runs, on this machine."""
        return bool(self.identity) and process_identity(self.process) == self.identity

    def is_over(self) -> bool:
        """Whether its writer has given up or certainly no longer runs."""
        machine = self.identity.rpartition(' ')[0]
        here = bool(machine) and machine == process_identity(os.getpid()).rpartition(' ')[0]
        return self.failed or here and not self.runs_here()

    def describe(self) -> str:
        """A sentence for people: what it is, and what that means for readers."""
        rows = f'{self.rows} rows' if self.rows else 'rows'
        ids = f' (ids {self.claimed[0]} to {self.claimed[1]})' if self.claimed else ''
        article = 'a' if self.kind == 'remove' else 'an'
        state = 'gave up' if self.failed else 'did not finish' if self.is_over() else 'has not finished yet'
        effect = 'its rows are hidden' if self.kind == 'add' else f'some rows may be {self.kind}d and others not'
        return f'{article} {self.kind} of {rows}{ids}, which process {self.process} on {self.host} {state}: {effect}'


def process_identity(process: int) -> str:
    """The running kernel, the namespace of processes and the start of a process, which together never occur twice.

    '' where that is not known, as on other systems than Linux; it ends with a space if there is no such process.
    """
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        machine = f'{boot}:{os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return ''
    try:
        # The name of the program, in parentheses, may hold spaces; field 22 is the time of the start.
        started = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[19]
    except OSError:
        started = ''
    return f'{machine} {started}'


@dataclass(frozen=True)
class State:
    """What the properties of a collection say.

    Attributes:
        about: The manifest, without the number of rows. ``generation`` counts writes; two that end together may count
            as one.
        transformed: Spaces whose embeddings are whitened.
        columns: Type of each metadata column.
        last_write: Number of the write that ended last, which never occurs twice.
        patch_shape: O and C of the patches of every row; None without patches.
        notes: Writes that have begun and not ended.
    """

    about: Manifest
    transformed: list[str]
    columns: dict[str, str] = field(default_factory=dict)
    last_write: int = 0
    patch_shape: list[int] | None = None
    notes: tuple[Note, ...] = ()

    @property
    def hidden(self) -> str:
        """Expression that leaves out the rows of adds that have not ended; '' if there are none."""
        numbers = [str(note.number) for note in self.notes if note.kind == 'add']
        return f'write_number not in [{", ".join(numbers)}]' if numbers else ''


def definition_properties(state: State) -> dict[str, str]:
    """Properties that say what made a gallery."""
    about = state.about
    definition = {
        'format': FORMAT,
        'created': about.created,
        'fingerprint': None if about.fingerprint is None else asdict(about.fingerprint),
        'metric': about.metric,
        'spaces': list(about.spaces.items()),
        'input_dimensions': about.input_dimensions,
        'transformed': state.transformed,
        'origin': about.origin,
    }
    return {'gallery.definition': json.dumps(definition)}


def new_properties(state: State) -> dict[str, str]:
    """Properties of a new gallery."""
    preset = preset_properties(state.about.preset, state.about.preset_reason)
    return {**definition_properties(state), **preset, **change_properties(0, 0), **patch_properties(None)}


def change_properties(generation: int, last_write: int, columns: dict[str, str] | None = None) -> dict[str, str]:
    """Properties after a write; columns have one each, so that writers do not undo each other's."""
    own = {f'{_COLUMN}{name}': kind for name, kind in (columns or {}).items()}
    return {'gallery.generation': str(generation), 'gallery.last_write': str(last_write), **own}


def origin_properties(values: Mapping[str, str]) -> dict[str, str]:
    """Properties after values of the origin have changed; each has its own, so that writers do not undo others'."""
    return {f'{_ORIGIN}{name}': value for name, value in values.items()}


def preset_properties(preset: str, reason: str) -> dict[str, str]:
    """Properties after the index has changed."""
    return {'gallery.preset': json.dumps([preset, reason])}


def patch_properties(shape: list[int] | None) -> dict[str, str]:
    """Properties after rows with patches of this shape, or without patches, were added."""
    return {'gallery.patch_shape': json.dumps(shape)}


def read_state(properties: dict[str, str], location: MilvusLocation) -> State:
    """The state in a collection's properties; RetrievalError if it is not a gallery, or of a later format.

    Format 1 differs in its one note, under another key, and in a counter of ids, which is no longer used: it is read
    like this one, and the first write turns it into this one.
    """
    if 'gallery.definition' not in properties:
        raise RetrievalError(f'{location} is a collection, but not a gallery: choose another name')
    definition = json.loads(properties['gallery.definition'])
    if definition['format'] > FORMAT:
        raise RetrievalError(
            f'{location} has format {definition["format"]}, this version reads up to {FORMAT}: update the package, or '
            'migrate the gallery with the version that wrote it'
        )
    preset, reason = json.loads(properties['gallery.preset'])
    fingerprint = definition['fingerprint']
    origin = {key[len(_ORIGIN) :]: value for key, value in properties.items() if key.startswith(_ORIGIN)}
    about = Manifest(
        format_version=definition['format'],
        created=definition['created'],
        fingerprint=None if fingerprint is None else Fingerprint(**fingerprint),
        metric=definition['metric'],
        spaces=dict(definition['spaces']),
        input_dimensions=definition['input_dimensions'],
        preset=preset,
        preset_reason=reason,
        generation=int(properties['gallery.generation']),
        origin={**definition['origin'], **origin},
    )
    filled = sorted((key, value) for key, value in properties.items() if value)
    return State(
        about,
        definition['transformed'],
        columns={key[len(_COLUMN) :]: kind for key, kind in filled if key.startswith(_COLUMN)},
        last_write=int(properties.get('gallery.last_write', 0)),
        patch_shape=json.loads(properties['gallery.patch_shape']),
        notes=tuple(Note.from_json(key, value) for key, value in filled if key.startswith(NOTE) or key == _OLD_NOTE),
    )
