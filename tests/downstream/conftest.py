"""Tests with mmdet and mmseg themselves, in an environment of their own: bash tools/run_downstream_tests.sh."""

from importlib.util import find_spec

if any(find_spec(name) is None for name in ('mmdet', 'mmseg')):
    collect_ignore_glob = ['test_*.py']
