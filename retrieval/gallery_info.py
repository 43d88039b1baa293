"""A description of a gallery, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .answers import SearchResult, results_to_json
from .gallery import open_gallery
from .index.presets import readable


def describe_gallery(location: str | Path, ids: Sequence[int] = ()) -> dict[str, Any]:
    """What a gallery holds, and some of its rows by id, in types that JSON knows.

    It is the manifest with ``columns``, ``indexes``, ``bytes`` of its files, ``unfinished`` writes and ``records``.
    RetrievalError if the gallery cannot be opened, or an id is unknown.
    """
    with open_gallery(location) as gallery:
        manifest = gallery.manifest
        described: dict[str, Any] = asdict(manifest)
        described['location'] = str(location)
        described['columns'] = gallery.columns()
        described['bytes'] = sum(facts['size'] for facts in manifest.files.values())
        described['indexes'] = gallery.built_presets
        described['unfinished'] = gallery.unfinished
        records = [SearchResult(record) for record in gallery.records(ids)] if len(ids) else []
        described['records'] = [answer['query'] for answer in results_to_json(records)]
    return described


def format_description(described: Mapping[str, Any], as_json: bool = False) -> str:
    """What :func:`describe_gallery` found, as text: the main facts, a line each, or all of it as JSON."""
    if as_json:
        return json.dumps(described, indent=1)
    counts, whole = described['counts'], described['input_dimensions']
    spaces = [
        f'{name} ({size})' if whole.get(name, size) == size else f'{name} ({size}, whitened from {whole[name]})'
        for name, size in described['spaces'].items()
    ]
    built = sorted({preset for segment in described['indexes'] for preset in segment.values()})
    own = [f'{name} ({kind.lower()})' for name, kind in described['columns'].items()]
    print_ = described['fingerprint'] or {}
    facts = [
        ('rows', f'{counts["rows"]:,}' + (f', {counts["removed"]:,} removed' if counts.get('removed') else '')),
        ('spaces', ', '.join(spaces)),
        ('metric', described['metric']),
        ('preset', described['preset'] + (f' (built: {", ".join(built)})' if built else '')),
        ('why', described['preset_reason']),
        *(('unfinished', sentence) for sentence in described['unfinished']),
        ('columns', ', '.join(own)),
        ('size', f'{readable(described["bytes"])} in {len(described["files"])} files' if described['files'] else ''),
        ('created', f'{described["created"]}, changed {described["generation"]} times'),
        ('model', print_.get('description', '')),
        ('weights', print_.get('weights', '')[:12]),
        *((name, value) for name, value in described['origin'].items()),
    ]
    lines = [f'{name + ":":<11} {value}' for name, value in facts if value]
    return '\n'.join([described['location'], *lines, *(json.dumps(record) for record in described['records'])])
