"""Published data sets: check a folder, download and unpack what is missing."""

from .archives import extract
from .completing import fetch_sources, prepare
from .descriptions import PublishedSet, Source
from .downloads import download
from .folder_checks import SetReport, check_set, format_report, format_set, listed_images
from .published_sets import PUBLISHED_SETS, find_published_set

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
