"""Reports of several pages: their sizes, what is on each, and the memory that writing them takes."""

import re
import tracemalloc

import numpy as np
import pytest
from test_visualization.page_reader import Page

from glsim_mm.errors import GLSimError
from glsim_mm.visualization import FoundImage, SearchRow, write_search_pages

RNG = np.random.default_rng(0)
PHOTOS = [RNG.integers(0, 256, (8, 10, 3), np.uint8) for _ in range(30)]
LIMIT = 100_000


class Stored(Page):
    """Photos that a page holds, and where it shows them."""

    @property
    def stored(self):
        return [(found['id'], found['href']) for found in self.all('image') if 'id' in found]

    @property
    def used(self):
        return [found['href'][1:] for found in self.all('use')]


def found(photo, reads=None, **options):
    def read():
        if reads is not None:
            reads.append(photo)
        return PHOTOS[photo]

    return FoundImage(read, f'{photo}.jpg', key=photo, **options)


def rows(count, hits=10, reads=None):
    """Queries and hits among 30 photos, made when they are asked for."""
    for query in range(count):
        numbers = [(7 * query + hit) % len(PHOTOS) for hit in range(hits)]
        yield SearchRow(
            found(query % len(PHOTOS), reads),
            [found(number, reads, score=0.5, box=(0, 0, 1, 0.5), similarity_map=np.eye(4)) for number in numbers],
        )


def write(path, count, limit=LIMIT, **options):
    return write_search_pages(path, rows(count, **options), count, limit=limit)


def test_pages_are_of_limited_size_and_name_each_other(tmp_path):
    files = write(tmp_path / 'found things.html', 60)
    assert len(files) > 3 and files[1].name == 'found things-2.html'
    pages, sizes = [Page.read(file) for file in files], [file.stat().st_size for file in files]
    assert max(sizes) <= LIMIT and min(sizes[:-1]) > LIMIT / 2
    assert 'prev' not in pages[0].links and 'next' not in pages[-1].links
    for number, page in enumerate(pages[:-1], start=2):
        assert page.links['next'] == f'found%20things-{number}.html'
    assert pages[1].links['prev'] == 'found%20things.html'
    assert 'Queries' in pages[0].text and 'Queries' not in pages[1].text
    labels = re.findall(r'aria-labelledby="q(\d+)"', ''.join(file.read_text(encoding='utf-8') for file in files))
    assert labels == [str(number) for number in range(1, 61)]


def test_a_photo_is_once_on_each_page_and_read_once_for_it(tmp_path):
    reads = []
    (file,) = write(tmp_path / 'page.html', 60, limit=20 << 20, reads=reads)
    page = Stored.read(file)
    assert len(page.stored) == len({url for _, url in page.stored}) == len(set(reads)) == len(reads) == 30
    assert len(page.used) == 60 + 2 * 600 and set(page.used) == {name for name, _ in page.stored}  # photo and map
    for file in write(tmp_path / 'pages.html', 60):
        page = Stored.read(file)
        names = [name for name, _ in page.stored]
        assert len(names) == len(set(names)) and set(page.used) <= set(names)
        assert len({url for _, url in page.stored}) == len(names)


def test_writing_takes_the_same_memory_for_any_number_of_queries(tmp_path):
    write(tmp_path / 'warm.html', 2)
    peaks = []
    for count in (40, 120):
        tracemalloc.start()
        files = write(tmp_path / f'{count}.html', count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(files) > 7 and sum(file.stat().st_size for file in files) > 750_000
    assert peaks[1] < 1.5 * peaks[0] < 1_000_000


def test_a_query_with_many_hits_goes_on_in_another_piece(tmp_path):
    files = write(tmp_path / 'page.html', 1, limit=3 * LIMIT, hits=250)
    pages = [Stored.read(file) for file in files]
    text = ''.join(page.text for page in pages)
    assert all(f'{rank}: 0.500' in text for rank in (1, 100, 101, 250)) and text.count('Query 1, continued') == 2
    assert len(pages) == 2 and max(file.stat().st_size for file in files) <= 3 * LIMIT


def test_pages_of_an_earlier_report_go_and_other_files_stay(tmp_path):
    many = write(tmp_path / 'page.html', 60)
    few = write(tmp_path / 'page.html', 20)
    assert sorted(tmp_path.iterdir()) == sorted(few) and len(few) < len(many)
    (tmp_path / 'other-2.html').write_text('mine')
    with pytest.raises(GLSimError, match=r'other-2\.html is there and no page of other\.html: move it'):
        write(tmp_path / 'other.html', 60)
    assert (tmp_path / 'other-2.html').read_text() == 'mine'


def test_a_photo_that_cannot_be_read_says_so_each_time(tmp_path):
    lost = FoundImage(lambda: None, 'gone.jpg', score=0.5, key='gone', box=(0, 0, 1, 1), similarity_map=np.eye(2))
    (file,) = write_search_pages(tmp_path / 'page.html', [SearchRow(found(0), [lost, lost])], 1)
    page, text = Stored.read(file), file.read_text(encoding='utf-8')
    assert page.text.count('gone.jpg (cannot be read)') == 2 and len(page.stored) == 2
    assert '<rect' not in text and 'similarity map' not in text


def test_names_do_not_run(tmp_path):
    path = tmp_path / 'a"><script>.html'
    item = FoundImage(PHOTOS[0], '<script>alert(1)</script>', score=0.5, label='"><script>', box=(0, 0, 1, 1))
    files = write_search_pages(path, [SearchRow(item, [item] * 250)], 1, limit=LIMIT)
    assert len(files) > 1
    for file in files:
        assert '<script' not in file.read_text(encoding='utf-8')
