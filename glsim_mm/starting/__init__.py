"""From a folder of photos to a config: what is in it, how it is split, and what this machine can train."""

from .first_config import WrittenConfig, init_config
from .report import format_report

__all__ = ['WrittenConfig', 'format_report', 'init_config']
