"""Published data sets: check a folder, download and unpack what is missing."""

from .checking import SetReport, check_set, listed_images
from .descriptions import PublishedSet, Source
from .downloading import download
from .extraction import extract
from .preparing import fetch_sources, prepare
from .published_sets import PUBLISHED_SETS, find_published_set
from .reports import format_report, format_set

__all__ = [
    'PUBLISHED_SETS',
    'PublishedSet',
    'SetReport',
    'Source',
    'check_set',
    'download',
    'extract',
    'fetch_sources',
    'find_published_set',
    'format_report',
    'format_set',
    'listed_images',
    'prepare',
]
