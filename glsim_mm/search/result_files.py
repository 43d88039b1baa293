"""Search results as files: JSON, a page of HTML, a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

from retrieval.answers import SearchResult, results_to_json
from retrieval.errors import RetrievalError
from retrieval.gallery import Manifest


def write_results(
    results: Sequence[SearchResult],
    path: str | Path,
    manifest: Manifest,
    root: str | Path | None = None,
    columns: int = 5,
    heatmaps: bool = False,
) -> None:
    """Write results to a file of the kind that its name says.

    Args:
        results: Of one gallery.
        path: ``.json``, ``.html``, or a picture such as ``.png``.
        manifest: Of the gallery.
        root: Where relative paths of photos begin. Defaults to the folder that was encoded.
        columns: Hits beside each other in a picture.
        heatmaps: Lay similarity maps over the photos of a picture.

    Raises:
        RetrievalError: If there is nothing to draw, or the file cannot be written.
    """
    kind = Path(path).suffix.lower()
    if kind == '.json':
        try:
            Path(path).write_text(json.dumps(results_to_json(results), indent=1), encoding='utf-8')
        except OSError as error:
            raise RetrievalError(f'{path} cannot be written ({error.strerror}); choose another file') from error
        return
    from . import pictures  # needs OpenMMLab's stack, which takes seconds to import

    read_photo = pictures.photo_reader(manifest.origin.get('root', '') if root is None else root)
    if kind != '.html':
        pictures.write_sheet(results, path, read_photo, columns, heatmaps)
        return
    facts = [('Rows in the gallery', f'{manifest.counts.get("rows", 0):,}'), ('Metric', manifest.metric)]
    if manifest.fingerprint is not None and manifest.fingerprint.description:
        facts.append(('Model', manifest.fingerprint.description))
    pictures.write_page(results, path, read_photo, facts)
