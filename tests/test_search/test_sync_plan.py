"""What a sync plans, on made-up rows and photos: properties that hold for all of them, and single cases."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glsim_mm.search.sync_plan import FoundPhoto, GalleryRow, SyncPlan, label_of_row, plan_sync

FOLDERS = ['', 'a/', 'b/', 'c/']
PATHS = [f'{folder}{name}' for folder in FOLDERS for name in ('1.png', '2.png', '3.png')]
ELSEWHERE = ['/old/a/1.png', '/old/b/1.png', '/old/2.png']
CONTENTS = ['h0', 'h1', 'h2', 'h3']
LABELS = [None, 'a', 'b', 'mine']


def class_of(path: str) -> str | None:
    return path.split('/')[-2] if '/' in path else None


@dataclass(frozen=True)
class Held:
    """A row of the gallery that the plans are carried out on."""

    path: str
    content: str | None
    label: str | None
    flagged: bool = False


def as_rows(gallery: dict[int, Held], gone: set[str]) -> list[GalleryRow]:
    rows = []
    for number, one in gallery.items():
        within = not one.path.startswith('/')
        here = (class_of(one.path), within, not within and one.path in gone, one.flagged)
        rows.append(GalleryRow(number, one.path, one.content, one.label, *here))
    return rows


def as_photos(disk: dict[str, str | None]) -> list[FoundPhoto]:
    return [FoundPhoto(path, content, class_of(path)) for path, content in sorted(disk.items())]


def carry_out(plan: SyncPlan, gallery: dict[int, Held], photos: list[FoundPhoto], missing: str) -> dict[int, Held]:
    done = dict(gallery)
    for row, position, label in [*plan.moved, *plan.described, *plan.changed]:
        done[row.id] = Held(photos[position].path, photos[position].content_hash, label)
    for number, position in enumerate([*plan.added, *plan.shared], start=max(done, default=0) + 1):
        done[number] = Held(photos[position].path, photos[position].content_hash, photos[position].label)
    for row in [*plan.replaced, *plan.dropped, *(plan.lost if missing == 'remove' else ())]:
        del done[row.id]
    for row in plan.lost if missing == 'flag' else ():
        done[row.id] = Held(row.path, row.content_hash, row.label, True)
    return done


held = st.builds(
    Held,
    st.sampled_from([*PATHS, *ELSEWHERE]),
    st.sampled_from([*CONTENTS, None]),
    st.sampled_from(LABELS),
    st.booleans(),
)
galleries = st.lists(held, max_size=8).map(lambda rows: dict(enumerate(rows)))
disks = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([*CONTENTS, 'h4', None]), max_size=9)
gone_places = st.sets(st.sampled_from(ELSEWHERE))


@settings(max_examples=200, deadline=None)
@given(galleries, disks, gone_places, st.sampled_from(['remove', 'flag', 'keep']))
def test_the_gallery_is_what_the_folder_is(gallery, disk, gone, missing):
    photos = as_photos(disk)
    plan = plan_sync(as_rows(gallery, gone), photos)
    after = carry_out(plan, gallery, photos, missing)

    unknown = {row.path for row in gallery.values() if row.content is None}  # their content cannot be compared
    for path, content in disk.items():
        if content is not None and path not in unknown:
            same = [row for row in after.values() if row.content == content]
            assert same, 'each content has a row'
            if class_of(path) is not None and not any(row.path == path for row in same):
                # Of each class there is one; a row elsewhere, or of a photo that cannot be read, counts by its label.
                assert any(class_of(path) in (class_of(row.path), row.label) for row in same)
    lost = {row.id for row in plan.lost}
    for number, row in after.items():
        if not row.path.startswith('/') and number not in lost and disk.get(row.path) is not None:
            assert row.content in (disk[row.path], None), 'a row has the content of its photo'
    for number, row in gallery.items():
        if row.path.startswith('/') and row.path not in gone:
            assert after[number] == row, 'rows elsewhere stay'
        if disk.get(row.path, '') is None:
            assert after[number] == row, 'rows of unreadable photos stay'


@settings(max_examples=200, deadline=None)
@given(galleries, disks, gone_places, st.sampled_from(['keep', 'drop']))
def test_only_new_content_is_encoded_and_ids_stay(gallery, disk, gone, contradictions):
    photos = as_photos(disk)
    plan = plan_sync(as_rows(gallery, gone), photos, contradictions)
    known = {row.content for row in gallery.values() if row.content is not None}
    encoded = [photos[position].content_hash for position in plan.added]
    assert len(set(encoded)) == len(encoded) and not known & set(encoded)
    for row, position, _ in plan.moved:
        assert row.content_hash == photos[position].content_hash and row.path != photos[position].path
    for row, position, _ in plan.changed:
        assert row.path == photos[position].path and row.content_hash != photos[position].content_hash
    fates = [row.id for row in (*plan.unchanged, *plan.replaced, *plan.dropped, *plan.lost)]
    fates += [one.row.id for one in (*plan.moved, *plan.described, *plan.changed)]
    within = {number for number, row in gallery.items() if not row.path.startswith('/')}
    arrived = {one.row.id for one in plan.moved if not one.row.is_within}
    assert sorted(fates) == sorted(within | arrived), 'each row of the folders has one fate'
    assert plan.elsewhere == len(gallery) - len(within) - len(arrived)
    placed = [one.position for one in (*plan.moved, *plan.described, *plan.changed)]
    assert not set(placed) & {*plan.added, *plan.shared, *plan.copies}


@settings(max_examples=200, deadline=None)
@given(galleries, disks, gone_places, st.sampled_from(['remove', 'flag', 'keep']), st.sampled_from(['keep', 'drop']))
def test_a_second_sync_has_nothing_to_do(gallery, disk, gone, missing, contradictions):
    photos = as_photos(disk)
    after = carry_out(plan_sync(as_rows(gallery, gone), photos, contradictions), gallery, photos, missing)
    again = plan_sync(as_rows(after, gone), photos, contradictions)
    assert not [*again.moved, *again.described, *again.changed, *again.added, *again.shared]
    assert not [*again.replaced, *again.dropped]
    assert not again.lost or missing != 'remove'


@settings(max_examples=200, deadline=None)
@given(galleries, disks, gone_places, st.integers(0, 20))
@example({n: Held('1.png', 'h0', None) for n in (0, 1)}, {'1.png': 'h1', '2.png': 'h0', '3.png': 'h0'}, set(), 1)
@example({0: Held('c/3.png', 'h0', None), 1: Held('c/3.png', None, None)}, {'1.png': 'h0', 'c/3.png': 'h1'}, set(), 1)
def test_an_interrupted_sync_is_finished_by_the_next(gallery, disk, gone, steps):
    """Each row is written at once; whichever of them are, planning again leads to the same contents and classes.

    Rows of one photo that move are written together: else, where it has copies, each would have one of the rows.
    """
    photos = as_photos(disk)
    plan = plan_sync(as_rows(gallery, gone), photos)
    whole = carry_out(plan, gallery, photos, 'remove')
    while 0 < steps < len(plan.moved) and plan.moved[steps - 1].position == plan.moved[steps].position:
        steps += 1
    part = SyncPlan(moved=plan.moved[:steps])
    for name in ('described', 'changed', 'added', 'shared', 'replaced', 'lost'):
        steps -= len(plan.moved) if name == 'described' else 0
        setattr(part, name, getattr(plan, name)[: max(steps, 0)])
        steps -= len(getattr(plan, name))
    half = carry_out(part, gallery, photos, 'remove')
    finished = carry_out(plan_sync(as_rows(half, gone), photos), half, photos, 'remove')

    def places(rows: dict[int, Held]) -> set:
        return {(row.path, row.content) for row in rows.values() if not row.path.startswith('/')}

    assert places(finished) == places(whole)


def test_many_equal_photos_that_move_are_paired_in_linear_time():
    rows = [GalleryRow(one, f'a/{one}.png', 'blank', 'a', 'a') for one in range(20_000)]
    photos = [FoundPhoto(f'b/{one}.png', 'blank', 'b') for one in range(20_000)]
    plan = plan_sync(rows, photos)
    assert len(plan.moved) == 20_000
    assert all(row.path[2:] == photos[position].path[2:] for row, position, _ in plan.moved)  # by name


def test_files_that_swap_places_are_not_encoded():
    rows = [GalleryRow(0, 'a/1.png', 'h1', 'a', 'a'), GalleryRow(1, 'b/1.png', 'h2', 'b', 'b')]
    plan = plan_sync(rows, as_photos({'a/1.png': 'h2', 'b/1.png': 'h1'}))
    assert [(one.row.id, one.position, one.label) for one in plan.moved] == [(1, 0, 'a'), (0, 1, 'b')]
    assert not [*plan.changed, *plan.added, *plan.lost]


def test_content_in_two_classes_is_told_and_kept_once_for_each():
    rows = [GalleryRow(0, 'a/1.png', 'h1', 'a', 'a')]
    disk = {'a/1.png': 'h1', 'b/1.png': 'h1', 'b/2.png': 'h1', '3.png': 'h1'}
    plan = plan_sync(rows, as_photos(disk))
    assert plan.contradictions == [('h1', {'a': ['a/1.png'], 'b': ['b/1.png', 'b/2.png']})]
    assert (plan.added, plan.shared, plan.copies) == ([], [2], [3, 0])  # the photos are in order of their paths
    plan = plan_sync(rows, as_photos(disk), 'drop')
    assert [row.id for row in plan.dropped] == [0] and not [*plan.added, *plan.shared]


def test_objects_of_one_photo_stay_together():
    rows = [GalleryRow(one, 'a/1.png', 'h1', 'a', 'a') for one in range(3)]
    plan = plan_sync(rows, as_photos({'a/1.png': 'h1'}))
    assert len(plan.unchanged) == 3
    plan = plan_sync(rows, as_photos({'b/1.png': 'h1'}))
    assert [one.row.id for one in plan.moved] == [0, 1, 2] and {one.label for one in plan.moved} == {'b'}


@pytest.mark.parametrize(
    'label,old_folder,photo,expected',
    [
        ('a', 'a', FoundPhoto('b/1.png', 'h', 'b'), 'b'),  # another class folder
        ('mine', 'a', FoundPhoto('a/2.png', 'h', 'a'), 'mine'),  # renamed in its folder: what somebody said stays
        ('mine', 'a', FoundPhoto('b/1.png', 'h', 'b'), 'b'),
        ('mine', 'a', FoundPhoto('1.png', 'h', None), 'mine'),
        ('a', 'a', FoundPhoto('1.png', 'h', None), None),
        (None, None, FoundPhoto('b/1.png', 'h', 'b'), 'b'),
        ('a', 'a', FoundPhoto('a/1.png', 'h', 'wren', False), 'wren'),  # a table says so
        ('mine', 'a', FoundPhoto('b/1.png', 'h', None, False), 'mine'),
    ],
)
def test_labels(label, old_folder, photo, expected):
    assert label_of_row(GalleryRow(0, 'a/1.png', 'h', label, old_folder), photo) == expected
