"""Whatever a caller passes to a gallery or a search, it succeeds or ends in a sentence, and the gallery is whole."""

import inspect
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glsim_mm.search import ImageSearch
from retrieval.errors import UserError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.recognition import find_duplicates

X = np.eye(4, dtype=np.float32)
GOOD = dict(
    queries=X[:1], embeddings=X[:1], ids=[0], radius=0.5, hashes=['a'], values={'label': 'x'}, labels='x', name='label'
)
READING = ['changes', 'column', 'find_hashes', 'ids', 'patches', 'plan_undo', 'plan_values', 'range_search', 'records']
READING += ['same_content', 'search', 'transform', 'vectors', 'why_empty']
WRITING = ['add', 'compact', 'remove', 'set_labels', 'set_values', 'undo', 'update']
SEARCH_OPTIONS = ['ids', 'k', 'space', 'where', 'method', 'depth', 'rescore', 'parameters', 'group_by', 'exclude_same']
ODD = [
    object(), int, len, Path('x'), date(2024, 1, 1), 1j, Record(), [Record()], 2**70, -1, float('nan'), float('inf'),
    np.zeros((2, 4)), np.zeros((1, 4), np.float32), np.array(3), np.array(['a']), np.array([0]), np.float32(3),
    np.array(None), np.array([[[1.0]]]), {'a': X[:1]}, {'label': 'a'}, {'label': np.array(3)}, [{'label': 'x'}], 'a',
    'label', [('label', 'in', 3)], {1: 2}, range(2), iter([1]), {'a': 0.5, 1: 2}, '\ud800', ['\ud800'],
]  # fmt: skip
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10), st.floats(), st.text(max_size=3), st.binary(max_size=2)
)
values = st.one_of(
    st.sampled_from(ODD),
    st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=2),
            st.tuples(inner),
            st.dictionaries(st.one_of(st.text(max_size=2), st.integers()), inner, max_size=2),
        ),
        max_leaves=3,
    ),
)


def make(location):
    gallery = create_gallery(location, {'a': 4})
    gallery.add(X, [Record(f'{n}.jpg', label='w', metadata={'year': n}) for n in range(4)], ids=range(4))
    gallery.set_labels([0], 'b')
    return gallery


def arguments(method):
    """Names of a method's arguments, and of those that must be given."""
    found = [one for one in inspect.signature(method).parameters.values() if one.kind is not one.VAR_KEYWORD]
    return [one.name for one in found], [one.name for one in found if one.default is one.empty]


def call(function, names, data):
    """Call a function with one or two wrong arguments; whatever it raises must be a sentence."""
    listed, needed = names
    wrong = data.draw(st.lists(st.sampled_from(listed), min_size=1, max_size=2, unique=True))
    given_ = {name: GOOD[name] for name in needed if name in GOOD} | {name: data.draw(values) for name in wrong}
    message = message_of(function, given_)
    assert '\n' not in message and len(message) < 2100


def message_of(function, options):
    try:
        function(**options)
    except UserError as error:
        return str(error)
    return ''


def check_methods(gallery, names, data):
    name = data.draw(st.sampled_from(names))
    method = getattr(gallery, name)
    call(method, arguments(method), data)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('wrong') / 'gallery'
    make(path).close()
    return path


@pytest.fixture(scope='module')
def opened(folder):
    with open_gallery(folder) as gallery:
        yield gallery


@pytest.fixture(scope='module')
def search(folder):
    with ImageSearch.open(folder, with_model=False) as search:
        yield search


@pytest.fixture(scope='module')
def milvus(tmp_path_factory):
    with make(f'milvus://{tmp_path_factory.mktemp("wrong")}/test.db/wrong') as gallery:
        yield gallery


def test_all_methods_are_called():
    names = set(READING + WRITING)
    with_arguments = {
        name
        for name, method in inspect.getmembers(open_gallery.__globals__['GalleryWriter'], inspect.isfunction)
        if not name.startswith('_') and len(inspect.signature(method).parameters) > 1
    }
    inner = {'copy_history', 'prefer_space', 'put_space', 'remove_space', 'set_origin'}  # of migrations, metrics, roots
    assert names == with_arguments - inner


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_reading(opened, data):
    check_methods(opened, READING, data)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_making_and_opening(tmp_path_factory, data):
    place = tmp_path_factory.mktemp('wrong') / 'gallery'
    options, function = {'location': place}, data.draw(st.sampled_from([create_gallery, open_gallery]))
    if function is create_gallery:
        options['spaces'] = {'a': 4}
    else:
        create_gallery(place, {'a': 4}).close()
    name = data.draw(st.sampled_from(arguments(function)[0][1:]))
    options[name] = data.draw(values)
    opened = []
    message = message_of(lambda: opened.append(function(**options)), {})
    assert '\n' not in message and len(message) < 2100
    for gallery in opened:
        gallery.close()
        open_gallery(place).close()  # whatever went into it can be read


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_writing(folder, tmp_path_factory, data):
    place = shutil.copytree(folder, tmp_path_factory.mktemp('wrong') / 'gallery')
    with open_gallery(place, writable=True) as gallery:
        check_methods(gallery, WRITING, data)
        assert len(gallery.records(gallery.ids())) == len(gallery) == len(gallery.vectors(gallery.ids()))
        gallery.verify()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_reading_and_writing_in_milvus(milvus, data):
    check_methods(milvus, READING + WRITING, data)
    assert len(milvus.records(milvus.ids())) == len(milvus)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_searching_by_rows(search, data):
    call(search.similar, (SEARCH_OPTIONS, ['ids']), data)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_duplicates(opened, data):
    call(lambda **options: find_duplicates(opened, **options), (['threshold', 'space', 'where'], []), data)


@pytest.mark.parametrize('wrong', ['0.5', None, True, [0.5], X, 2**2000])
def test_a_radius_is_a_number(opened, wrong):
    with pytest.raises(UserError, match='radius must be a finite number'):
        opened.range_search(X, wrong)
    if wrong is not None:
        with pytest.raises(UserError, match='threshold must be a finite number'):
            find_duplicates(opened, wrong)


@pytest.mark.parametrize('preset', ['\ud800', 'IVF\0', '', 'nothing'])
def test_a_preset_is_ours_or_a_factory_string(tmp_path, preset):
    with make(tmp_path / 'gallery') as gallery, pytest.raises(UserError, match='is neither one of'):
        gallery.compact(preset=preset)
