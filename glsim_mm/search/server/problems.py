"""Errors as RFC 9457 tells them, ``application/problem+json``, which tell nothing of the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from .numbers import JSONAnswer

# An absolute path of two parts or more, of Unix or Windows; not a part of an address, or of another path.
_PATH = re.compile(r'(?<![\w:/.\\])(?:[A-Za-z]:)?(?:[/\\][^\s/\\:,;\'"()]+){2,}')


class Problem(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        kind: Short name for programs, as ``'queue-full'``; does not change between versions.
        detail: Sentence for people.
        headers: Of the answer.
        **more: Further members of the answer.
    """

    def __init__(
        self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.more = status, kind, detail, more
        self.headers = dict(headers or {})

    def response(self) -> JSONAnswer:
        """The answer."""
        content = dict(
            type=f'urn:glsim:problem:{self.kind}',
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            **self.more,
        )
        return JSONAnswer(content, self.status, self.headers, 'application/problem+json')


def too_busy(detail: str, seconds: int = 1) -> Problem:
    """Answer 503 for a request that finds the queue full: it may come again after some seconds (``Retry-After``)."""
    return Problem(503, 'busy', detail, {'Retry-After': str(seconds)})


def aborted() -> Problem:
    """What becomes of a request whose sender has gone away, who never sees it."""
    return Problem(408, 'aborted', 'the request was given up')


def hide_paths(text: str) -> str:
    """A message without the folders of absolute paths: where something lies on this machine is nobody's business."""
    return _PATH.sub(lambda found: os.path.basename(found[0].replace('\\', '/')), text)
