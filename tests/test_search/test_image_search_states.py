"""An image search keeps to one state of its gallery from the query to the records of its hits."""

import numpy as np

from glsim_mm.search import ImageSearch
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.gallery.folder_reader import FolderReader

X = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


def test_hits_keep_their_records_when_another_thread_refreshes(tmp_path, monkeypatch):
    with create_gallery(tmp_path / 'g', 8) as writer:
        writer.add(X, [Record(f'{n}.jpg') for n in range(40)])
    with open_gallery(tmp_path / 'g') as gallery:
        expected = [hit.record.path for hit in ImageSearch(gallery).similar([0], 5)[0].hits]
        search = FolderReader.search

        def search_then_change(self, *args, **options):
            hits = search(self, *args, **options)
            with open_gallery(tmp_path / 'g', writable=True) as writer:
                writer.remove(range(1, 40))
            gallery.refresh()
            return hits

        monkeypatch.setattr(FolderReader, 'search', search_then_change)
        assert [hit.record.path for hit in ImageSearch(gallery).similar([0], 5)[0].hits] == expected
        assert len(gallery) == 1
