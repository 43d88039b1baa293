"""Checks of folders in the published layouts, and completing them."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import file_server
from published_layouts import (
    WRITERS,
    write_anime,
    write_flowers102,
    write_inaturalist2017,
    write_nabirds,
    write_stanford_cars_in_one_file,
    write_stanford_dogs,
    write_vegfru,
)
from test_archives import write_archive

from glsim_mm.datasets.fine_grained import PublishedSet, Source
from glsim_mm.datasets.preparation.completing import fetch_sources, prepare
from glsim_mm.datasets.preparation.folder_checks import check_set, format_report, format_set
from glsim_mm.datasets.published_sets import PUBLISHED_SETS, find_published_set
from glsim_mm.errors import GLSimError
from glsim_mm.images.demo_set import DemoSettings, render_demo


def write_cub(folder: Path) -> Path:
    """The demo set has the layout of CUB-200-2011."""
    render_demo(folder, DemoSettings(num_classes=2, train_per_class=1, test_per_class=1, size=32))
    return folder


# How to write a tiny set, and how many images it has.
NUM_IMAGES = dict(dafb=6, dogs=4, flowers=306, food101=4, inat17=6, moe=6, nabirds=6, vegfru=9, aircraft=6, cars=4)
LAYOUTS = {'cub': (write_cub, 4), **{name: (write, NUM_IMAGES.get(name)) for name, write in WRITERS.items()}}


def tiny(name: str, **changes) -> PublishedSet:
    """A published set that expects the tiny one: without checksums, sizes and the number of images."""
    published = find_published_set(name)
    sources = tuple(replace(source, checksum=None, size=None) for source in published.sources)
    return replace(published, **{'sizes': dict.fromkeys(published.sizes), 'sources': sources, **changes})


def sized(name: str, number: int | None) -> dict:
    """Sizes of the splits that add up to a number."""
    splits = find_published_set(name).splits
    return {} if number is None else dict(sizes={**dict.fromkeys(splits, 0), splits[0]: number})


def test_every_set_of_the_issue_is_described():
    assert sorted(PUBLISHED_SETS) == sorted(LAYOUTS)


@pytest.mark.parametrize('name', PUBLISHED_SETS)
def test_descriptions_are_consistent(name):
    published = PUBLISHED_SETS[name]
    assert set(published.sizes) == set(published.reader.SIZES)
    if published.is_exact and 'trainval' in published.sizes and 'train' in published.sizes:
        assert published.sizes['trainval'] == published.sizes['train'] + published.sizes['val']
    for source in published.sources:
        assert source.url is None or source.url.startswith(('https://', 'http://'))
        assert source.url or published.by_hand, 'either a URL or how to get it by hand'
        if source.checksum:
            assert published.checksums_from
            algorithm, digest = source.checksum.split(':')
            assert len(digest) == {'md5': 32, 'sha256': 64}[algorithm] and int(digest, 16)
        if not source.is_archive and source.url:
            assert len(source.provides) == 1


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_complete_folder(name, tmp_path):
    write, number = LAYOUTS[name]
    report = check_set(tiny(name, **sized(name, number)), write(tmp_path), images=True, deep=True)
    text = format_report(report)
    assert report.is_complete and report.needed == [], text
    assert ': complete\n' in text and 'to get' not in text
    assert report.unreadable == []
    assert number in (None, report.num_listed)
    if name != 'cub':  # all photos of the fixtures have the same pixels
        assert [len(group) for group in report.duplicates] == [report.num_listed]


def test_stanford_cars_in_one_file(tmp_path):
    assert check_set(tiny('cars'), write_stanford_cars_in_one_file(tmp_path)).is_complete


@pytest.mark.parametrize('name', LAYOUTS)
def test_an_empty_folder_lists_everything(name, tmp_path):
    published = find_published_set(name)
    for root in (tmp_path, tmp_path / 'none'):
        report = check_set(published, root)
        text = format_report(report)
        assert not report.is_complete and ': incomplete\n' in text
        assert report.needed == list(published.sources)
        for source in published.sources:
            assert (source.url or published.by_hand) in text
            assert (source.checksum or 'checksum not published') in text
            for path in source.provides:
                origin = '' if path == source.name else f' (from {source.name})'
                assert f': {path.split("|")[0]}{origin}\n' in text
        assert ('--download' in text) == any(source.url or source.is_archive for source in published.sources)


def test_the_published_number_of_images_is_expected(tmp_path):
    report = check_set(tiny('nabirds', sizes=dict(train=23929, test=24633)), write_nabirds(tmp_path))
    assert not report.is_complete
    assert 'images: 6 listed, but the published set has 48,562' in format_report(report)


def test_a_number_that_was_published_with_other_lists_is_only_told(tmp_path):
    report = check_set(PUBLISHED_SETS['dafb'], write_anime(tmp_path, 'fullMin256'))
    assert report.is_complete
    assert 'images: 6 listed (published: 463,437)\n' in f'{format_report(report)}\n'


def test_wrong_checksum_of_an_annotation_file(tmp_path):
    write_flowers102(tmp_path)
    report = check_set(PUBLISHED_SETS['flowers'], tmp_path)
    assert [source.name for source, _ in report.wrong] == ['imagelabels.mat', 'setid.mat']
    assert 'wrong: setid.mat has ' in format_report(report)
    sizes = {name: (tmp_path / name).stat().st_size for name in ('imagelabels.mat', 'setid.mat')}
    sources = tuple(replace(s, size=sizes.get(s.name)) for s in PUBLISHED_SETS['flowers'].sources)
    report = check_set(tiny('flowers', sources=sources), tmp_path)
    assert 'has the md5' in format_report(report) and 'not a5357ecc9cb78c4bef273ce3793fc85c' in format_report(report)


def test_missing_and_unreadable_images_are_named_and_their_archive_is_needed(tmp_path):
    write_stanford_dogs(tmp_path)
    photos = sorted((tmp_path / 'Images').rglob('*.jpg'))
    photos[0].unlink()
    photos[1].write_bytes(photos[1].read_bytes()[:300])
    photos[2].write_text('<html>')
    photos[3].write_bytes(b'')
    report = check_set(tiny('dogs'), tmp_path)
    assert report.missing_images == [photos[0].relative_to(tmp_path).as_posix()]
    assert [source.name for source in report.needed] == ['images.tar']
    report = check_set(tiny('dogs'), tmp_path, images=True)
    assert sorted(file.path for file in report.unreadable) == [str(photo) for photo in photos[1:]]
    text = format_report(report)
    assert f'missing image: {report.missing_images[0]}' in text
    assert f'unreadable: {photos[2]}: not an image' in text
    assert '_io' not in text


def test_long_lists_are_cut(tmp_path):
    write_flowers102(tmp_path)
    for photo in (tmp_path / 'jpg').iterdir():
        photo.unlink()
    text = format_report(check_set(tiny('flowers'), tmp_path))
    assert text.count('missing image: jpg/') == 10 and 'missing image: and 296 more' in text


def test_annotations_that_cannot_be_read(tmp_path):
    write_anime(tmp_path)
    with (tmp_path / 'val.csv').open('a') as stream:
        stream.write('7,x.png\n')
    report = check_set(tiny('moe'), tmp_path)
    assert not report.is_complete
    assert 'annotations: line 4 of' in format_report(report) and 'val.csv' in format_report(report)
    assert [source.name for source in report.needed] == ['val.csv']


def test_what_is_optional_may_be_missing(tmp_path):
    write_inaturalist2017(tmp_path)
    (tmp_path / 'val_2017_bboxes.json').unlink()
    report = check_set(tiny('inat17'), tmp_path)
    assert report.is_complete
    assert 'not there (optional): val_2017_bboxes.json' in format_report(report)


def test_progress_is_told(tmp_path):
    steps = []
    check_set(tiny('nabirds'), write_nabirds(tmp_path), images=True, progress=lambda *step: steps.append(step))
    assert steps == [(number, 6) for number in range(1, 7)]


def test_root_is_a_file(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(GLSimError, match='is not a folder'):
        check_set(PUBLISHED_SETS['cub'], tmp_path / 'file')


def test_unknown_names():
    with pytest.raises(GLSimError, match="no data set 'cubs'; did you mean cub"):
        find_published_set('cubs')
    with pytest.raises(GLSimError, match='known are aircraft, cars'):
        find_published_set('imagenet')


def test_what_is_known_is_printed():
    text = format_set(PUBLISHED_SETS['moe'])
    assert 'images: number not published (train, val, test)' in text
    assert 'size not published, checksum not published' in text
    assert '1.2 GB, md5:97eceeb196236b17998738112f37df78 (according to Avalanche)' in format_set(PUBLISHED_SETS['cub'])


def dogs_on_a_server(tmp_path: Path) -> tuple[PublishedSet, dict[str, bytes]]:
    """Stanford Dogs as archives, and its description with their checksums."""
    whole = write_stanford_dogs(tmp_path / 'whole')
    found = {path.relative_to(whole).as_posix(): path.read_bytes() for path in whole.rglob('*') if path.is_file()}
    parts = {
        'images.tar': {name: content for name, content in found.items() if name.startswith('Images/')},
        'lists.tar': {name: content for name, content in found.items() if name.endswith('.mat')},
        'annotation.tar': {name: content for name, content in found.items() if name.startswith('Annotation/')},
    }
    files = {name: write_archive(tmp_path / name, members).read_bytes() for name, members in parts.items()}
    sources = tuple(
        replace(
            source,
            checksum=f'sha256:{hashlib.sha256(files[source.name]).hexdigest()}',
            size=len(files[source.name]),
        )
        for source in PUBLISHED_SETS['dogs'].sources
    )
    return tiny('dogs', **sized('dogs', 4), sources=sources), files


def without_urls(published: PublishedSet) -> PublishedSet:
    return replace(
        published, files_at='', by_hand='ask', sources=tuple(replace(s, url=None) for s in published.sources)
    )


def at(published: PublishedSet, url: str) -> PublishedSet:
    return replace(published, sources=tuple(replace(s, url=f'{url}/{s.name}') for s in published.sources))


def test_a_set_is_completed(tmp_path):
    published, files = dogs_on_a_server(tmp_path)
    root = tmp_path / 'new' / 'dogs'
    with file_server(files=files, cuts=[100]) as server:
        assert fetch_sources(check_set(at(published, server.url), root).needed, root, pause=0) == []
        assert check_set(at(published, server.url), root, images=True).is_complete
        assert len(server.requests) == 4  # one went on after an interruption
        photo = next((root / 'Images').rglob('*.jpg'))
        photo.unlink()
        fetch_sources(check_set(at(published, server.url), root).needed, root)
        assert len(server.requests) == 4  # the archive is still there
    assert photo.is_file()
    assert check_set(published, root).is_complete


def test_an_archive_fetched_by_hand_is_unpacked(tmp_path):
    published, files = dogs_on_a_server(tmp_path)
    by_hand = without_urls(published)
    root = tmp_path / 'dogs'
    assert fetch_sources(by_hand.sources, root) == []
    assert not root.exists()
    (root / 'downloads').mkdir(parents=True)
    for name, content in files.items():
        (root / 'downloads' / name).write_bytes(content)
    assert fetch_sources(by_hand.sources, root) == []
    assert check_set(by_hand, root).is_complete


def test_an_incomplete_archive_fetched_by_hand_is_refused(tmp_path):
    published, files = dogs_on_a_server(tmp_path)
    root = tmp_path / 'dogs'
    (root / 'downloads').mkdir(parents=True)
    (root / 'downloads' / 'images.tar').write_bytes(files['images.tar'][:1000])
    (failure,) = fetch_sources([replace(published.sources[0], url=None)], root)
    assert re.search(r'images.tar has 1,000 bytes, not .* replace it in downloads/', failure)


def test_an_incomplete_archive_with_a_url_is_fetched_again(tmp_path):
    published, files = dogs_on_a_server(tmp_path)
    root = tmp_path / 'dogs'
    (root / 'downloads').mkdir(parents=True)
    (root / 'downloads' / 'images.tar').write_bytes(files['images.tar'][:1000])
    with file_server(files=files) as server:
        fetch_sources(at(published, server.url).sources, root)
    assert check_set(published, root).is_complete


def test_a_failure_does_not_keep_the_others_from_coming(tmp_path):
    published, files = dogs_on_a_server(tmp_path)
    root = tmp_path / 'dogs'
    images = files.pop('images.tar')
    with file_server(files=files) as server:
        (failure,) = fetch_sources(at(published, server.url).sources, root)
    assert 'images.tar cannot be downloaded: the server answers 404' in failure
    report = check_set(published, root)
    assert [source.name for source in report.needed] == ['images.tar']
    report.failures = [failure]
    assert f'\n  failed: {failure}\n' in format_report(report)
    with file_server(files={'images.tar': images}) as server:
        assert fetch_sources(at(published, server.url).sources[:1], root) == []
    assert check_set(published, root).is_complete


def test_plain_files_are_put_in_place(tmp_path):
    write_anime(tmp_path / 'moe')
    names = ('train.csv', 'val.csv', 'test.csv', 'classid_classname.csv')
    files = {name: (tmp_path / 'moe' / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / 'moe' / name).unlink()
    with file_server(files=files) as server:
        sources = tuple(replace(source, url=f'{server.url}/{source.name}') for source in PUBLISHED_SETS['moe'].sources)
        report = check_set(tiny('moe', sources=sources), tmp_path / 'moe')
        fetch_sources(report.needed, tmp_path / 'moe')
    assert check_set(tiny('moe'), tmp_path / 'moe').is_complete
    assert not (tmp_path / 'moe' / 'downloads').exists()


def test_renamed_folder_of_an_archive(tmp_path):
    archive = write_archive(tmp_path / 'faces.zip', {'animeface-character-dataset/thumb/000_x/face_1.png': b'png'})
    source = Source('faces.zip', ('data',), url=archive.as_uri(), rename={'thumb': 'data'})
    fetch_sources([source], tmp_path / 'moe')
    assert (tmp_path / 'moe' / 'data' / '000_x' / 'face_1.png').read_bytes() == b'png'


def test_prepare_only_checks_unless_told(tmp_path):
    report = prepare('vegfru', tmp_path / 'vegfru', images=True, progress=False)
    assert not report.is_complete and not (tmp_path / 'vegfru').exists()
    report = prepare('vegfru', write_vegfru(tmp_path / 'vegfru'), fetch=True, deep=True, progress=False)
    assert report.num_listed == 9 and report.needed == []
