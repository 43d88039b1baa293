"""Random sequences of what happens to photos and rows, each followed by a sync, compared with the folder."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from counting_model import write_photo
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from mean_encoder import MeanEncoder

from glsim_mm.images.photos import hash_content
from glsim_mm.search import sync_images
from retrieval.gallery import create_gallery, open_gallery

pytestmark = pytest.mark.slow
FOLDERS, NAMES = ['', 'a', 'b', 'c'], ['0.png', '1.png', '2.png']
places = st.builds(lambda folder, name: Path(folder, name), st.sampled_from(FOLDERS), st.sampled_from(NAMES))


class SyncMachine(RuleBasedStateMachine):
    """A folder, its gallery, and the embedding that belongs to each content."""

    @initialize(seed=st.integers(0, 99))
    def start(self, seed):
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, 'fsync', lambda descriptor: None)
        self.photos, self.rng, self.encoder = self.folder / 'photos', np.random.default_rng(seed), MeanEncoder()
        write_photo(self.photos / 'stays.png', self.rng)
        self.gallery = create_gallery(
            self.folder / 'g', {'global': 48}, fingerprint=self.encoder.fingerprint, origin={'root': str(self.photos)}
        )
        self.known: dict[str, np.ndarray] = {}
        self.sync('remove')

    def teardown(self):
        if hasattr(self, 'gallery'):
            self.gallery.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    @rule(place=places)
    def write(self, place):
        write_photo(self.photos / place, self.rng)

    @rule(old=places, new=places, keep=st.booleans())
    def move_or_copy(self, old, new, keep):
        if (self.photos / old).exists() and old != new:
            (self.photos / new).parent.mkdir(exist_ok=True)
            (shutil.copyfile if keep else os.replace)(self.photos / old, self.photos / new)

    @rule(place=places)
    def delete(self, place):
        (self.photos / place).unlink(missing_ok=True)

    @rule(place=places)
    def relabel(self, place):
        self.gallery.set_labels(self.gallery.ids({'path': place.as_posix()}), 'mine', by='me')

    @rule()
    def undo(self):
        """Taking back what a sync wrote is made good by the next."""
        if self.gallery.history():
            self.gallery.undo(skip_changed=True) if self.gallery.plan_undo().changes else None

    @rule()
    def reopen(self):
        self.gallery.close()
        self.gallery = open_gallery(self.folder / 'g', writable=True)

    @rule(missing=st.sampled_from(['remove', 'flag', 'keep', None]))
    def sync(self, missing):
        before = {one.content_hash for one in self.gallery.records(self.gallery.ids())}
        count = self.encoder.count
        report = sync_images(self.gallery, self.encoder, self.photos, missing=missing, progress=False, num_workers=0)
        files = {
            file.relative_to(self.photos).as_posix(): hash_content(file.read_bytes())
            for file in self.photos.rglob('*.png')
        }
        records = self.gallery.records(self.gallery.ids())
        vectors = self.gallery.vectors(self.gallery.ids())
        # Known content is encoded only where a row is replaced at its place.
        assert report.encoded == self.encoder.count - count
        assert report.encoded <= len(set(files.values()) - before) + len(report.changed)
        at = {one.path: one for one in records if one.path in files}
        assert all(one.content_hash == files[path] for path, one in at.items())
        assert all('missing_since' not in one.metadata for one in at.values())
        for path, content in files.items():
            label = path.split('/')[0] if '/' in path else None
            same = [one for one in at.values() if one.content_hash == content]
            assert same and (path in at or label is None or any(one.path.startswith(f'{label}/') for one in same))
        lost = [one for one in records if one.path not in files]
        assert not lost or missing in ('flag', 'keep')
        if missing == 'flag':
            assert all('missing_since' in one.metadata for one in lost)
        for record, vector in zip(records, vectors):
            np.testing.assert_allclose(self.known.setdefault(record.content_hash, vector), vector, atol=1e-6)
        again = sync_images(self.gallery, self.encoder, self.photos, missing='keep', dry_run=True, progress=False)
        assert again.is_idle


SyncMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSyncEqualsFolder = SyncMachine.TestCase
