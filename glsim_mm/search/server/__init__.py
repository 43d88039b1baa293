"""The search as a service: an API over HTTP and a page, for galleries on this machine.

:func:`~glsim_mm.search.server.running.serve` is what ``glsim serve`` calls, and
:func:`~glsim_mm.search.server.app.create_app` makes the application alone. They need the extra ``serve``.
"""
