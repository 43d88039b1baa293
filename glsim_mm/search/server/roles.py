"""Who may do what: one table of all routes, and one check that reads it."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.requests import Request

from .problems import Problem

API = '/api/v1'
INFERENCE = '/v2'
READ, LABEL, ADMIN = 'read', 'label', 'admin'
ROLES = (READ, LABEL, ADMIN)
"""From the one that may least to the one that may all."""


class Visitor(NamedTuple):
    """Somebody who asks.

    Attributes:
        role: One of :data:`ROLES`.
        name: Whom the history of a gallery names; '' for the role, or, without a token, whoever runs the server.
    """

    role: str = ADMIN
    name: str = ''

    def may(self, role: str) -> bool:
        """Whether this role is enough for what needs another."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Rule(NamedTuple):
    """What a route needs.

    Attributes:
        role: The least role; '' for what everybody may, also without a token.
        writes: Whether it changes a gallery, which the server must have been started for.
    """

    role: str
    writes: bool = False


_OPEN, _READ, _LABEL = Rule(''), Rule(READ), Rule(LABEL)
_LABELS, _ADMINISTERS = Rule(LABEL, writes=True), Rule(ADMIN, writes=True)
RULES = {
    'GET /': _OPEN,
    'GET /docs': _OPEN,
    f'POST {API}/session': _OPEN,
    f'GET {API}/healthz': _OPEN,
    f'GET {API}/readyz': _OPEN,
    f'GET {API}/openapi.json': _READ,
    f'GET {API}/info': _READ,
    f'GET {API}/metrics': _READ,
    f'POST {API}/search': _READ,
    f'POST {API}/identify': _READ,
    f'POST {API}/explain': _READ,
    f'POST {API}/compare': _READ,
    f'POST {API}/export': _READ,
    f'GET {API}/rows': _READ,
    f'GET {API}/rows/{{}}': _READ,
    f'GET {API}/rows/{{}}/similar': _READ,
    f'GET {API}/classes': _READ,
    f'GET {API}/classes/{{}}': _READ,
    f'GET {API}/columns': _READ,
    f'GET {API}/columns/{{}}': _READ,
    f'GET {API}/photos/{{}}': _READ,
    f'GET {API}/photos/{{}}/map': _READ,
    f'GET {API}/changes': _READ,
    f'GET {API}/duplicates': _READ,
    f'GET {API}/review': _READ,
    f'GET {API}/jobs': _READ,
    f'GET {API}/jobs/{{}}': _READ,
    f'GET {API}/jobs/{{}}/events': _READ,
    f'PATCH {API}/rows/{{}}': _LABELS,
    f'POST {API}/rows:label': _LABELS,
    f'POST {API}/undo/{{}}': _LABELS,
    f'POST {API}/duplicates/{{}}': _LABELS,  # to remove rows, the handler asks for the admin
    f'POST {API}/review/{{}}': _LABELS,
    f'POST {API}/jobs/duplicates': _LABEL,
    f'POST {API}/jobs/audit': _LABEL,
    f'POST {API}/jobs/evaluate': _LABEL,
    f'POST {API}/jobs/calibrate': _LABELS,
    f'POST {API}/jobs/add': _ADMINISTERS,
    f'POST {API}/jobs/remove': _ADMINISTERS,
    f'POST {API}/jobs/sync': _ADMINISTERS,
    f'POST {API}/jobs/{{}}/cancel': _LABEL,  # of a job, the handler asks for the role that begins it
    f'POST {API}/jobs/{{}}/resume': _LABEL,
    f'GET {INFERENCE}': _READ,
    f'GET {INFERENCE}/health/live': _OPEN,
    f'GET {INFERENCE}/health/ready': _OPEN,
    f'GET {INFERENCE}/models/{{}}': _READ,
    f'GET {INFERENCE}/models/{{}}/ready': _READ,
    f'POST {INFERENCE}/models/{{}}/infer': _READ,
    f'GET {INFERENCE}/models/{{}}/versions/{{}}': _READ,
    f'GET {INFERENCE}/models/{{}}/versions/{{}}/ready': _READ,
    f'POST {INFERENCE}/models/{{}}/versions/{{}}/infer': _READ,
}
"""What each route needs, by its method and path, with ``{}`` for each part that varies."""


def rule_of(method: str, path: str) -> Rule | None:
    """What a route needs, by its method and the path that it was declared with; None if nobody has said so."""
    return RULES.get(f'{method} {re.sub("{[^}]*}", "{}", path)}')


def visitor_of(request: Request) -> Visitor:
    """Who asks, as the guard has found out."""
    found: Visitor = request.scope['visitor']
    return found


async def check_role(request: Request) -> None:
    """Refuse a request whose sender may not do this; a route without a rule is refused to all.

    Raises:
        Problem: Then.
    """
    rule = rule_of(request.method, request.scope['route'].path)
    if rule is None:
        raise Problem(403, 'no-rule', 'nobody has said who may do this')
    require(request, rule)


def require(request: Request, rule: Rule) -> None:
    """Refuse a request whose sender may less than a rule needs, as when this depends on what exactly is asked for.

    Raises:
        Problem: Then.
    """
    if not rule.role:
        return
    if rule.writes and not request.app.state.service.settings.writable:
        raise Problem(403, 'read-only', 'this server only reads: start it with --writable to change galleries')
    visitor = visitor_of(request)
    if not visitor.may(rule.role):
        raise Problem(403, 'not-allowed', f'this needs the role {rule.role}; your token has the role {visitor.role}')
