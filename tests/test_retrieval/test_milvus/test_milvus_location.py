"""Locations of galleries in Milvus."""

import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import is_folder
from retrieval.milvus.collection import MilvusLocation, connect, parse_location


@pytest.mark.parametrize(
    'text, location',
    [
        ('milvus://10.0.0.7:1953/birds', MilvusLocation('http://10.0.0.7:1953', 'birds')),
        ('milvus://milvus.local/birds', MilvusLocation('http://milvus.local:19530', 'birds')),
        ('milvus://localhost:19530/zoo/birds', MilvusLocation('http://localhost:19530', 'birds', 'zoo')),
        ('milvus+https://x.cloud:443/birds', MilvusLocation('https://x.cloud:443', 'birds')),
        ('milvus://[::1]:19530/birds', MilvusLocation('http://[::1]:19530', 'birds')),
        ('milvus:///data/my%20birds.db/birds', MilvusLocation('/data/my birds.db', 'birds')),
        ('milvus://./sub/birds.db/birds', MilvusLocation('sub/birds.db', 'birds')),
        ('milvus://host/birds?consistency=Bounded', MilvusLocation('http://host:19530', 'birds', '', 'Bounded')),
    ],
)
def test_forms_of_a_location(text, location):
    assert parse_location(text) == location
    assert parse_location(str(location)) == location
    assert not is_folder(text)


@pytest.mark.parametrize(
    'text', ['data/birds', '/data/birds', 'C:\\birds', 'milvus', 'milvus/birds', 's3://milvus/birds']
)
def test_paths_are_not_milvus(text):
    assert is_folder(text)


@pytest.mark.parametrize(
    'text, message',
    [
        ('milvus://host:19530/', "'' in"),
        ('milvus://host:19530/my-birds', "'my-birds' in"),
        ('milvus://host:19530/1birds', "'1birds' in"),
        ('milvus://host/a/b/birds', 'too many parts'),
        ('milvus://host/my-zoo/birds', "'my-zoo' in"),
        ('milvus://host:port/birds', 'HOST:PORT'),
        ('milvus://host:99999/birds', 'HOST:PORT'),
        ('milvus:///data/birds', 'ends in .db'),
        ('milvus+https:///data/birds.db/birds', 'ends in .db'),
        ('milvus://host/birds?consistency=strong', 'Strong, Bounded'),
        ('milvus://host/birds?token=abc', 'the only option'),
        ('http://host/birds', 'milvus://HOST:PORT/COLLECTION'),
    ],
)
def test_other_forms_are_refused(text, message):
    with pytest.raises(RetrievalError) as caught:
        parse_location(text)
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_passwords_are_refused_and_not_repeated():
    with pytest.raises(RetrievalError, match='MILVUS_TOKEN') as caught:
        parse_location('milvus://root:secret@host:19530/birds')
    assert 'secret' not in str(caught.value)


def test_idle_connections_to_a_local_file_live_on(milvus_file):
    """milvus-lite's server ends connections that are pinged more often than every five minutes."""
    connection = connect(parse_location(f'{milvus_file}/any'))._get_connection()
    assert connection._grpc_options['grpc.keepalive_time_ms'] > 300_000
