"""Peak memory of a function in a process of its own, because a process's memory shows only its growth."""

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..compat import import_mmpretrain


class MeasuringProcesses:
    """Runs functions in short-lived processes, one each; use it as a context manager.

    They are forked from one that has imported everything and done nothing else, so imports of seconds are paid once.
    """

    def __enter__(self) -> 'MeasuringProcesses':
        # Not the fork server of multiprocessing: before Python 3.13 it does not know this process's sys.path.
        context = multiprocessing.get_context('spawn')
        self._connection, remote = context.Pipe()
        self._server = context.Process(target=_serve, args=(remote,))
        self._server.start()
        remote.close()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._server.join()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Result of ``function(*args)``, called in a new process.

        Args:
            function: Of a module.
            *args: What goes into a pipe.

        Returns:
            None if memory did not suffice.

        Raises:
            RuntimeError: If the function fails for another reason; its process has printed a traceback.
        """
        try:
            self._connection.send((function, args))
            failed, result = self._connection.recv()
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError('the process that measures memory has ended') from error
        if failed:
            raise RuntimeError(f'measuring the memory of {args[0]} failed; see above')
        return result


def reset_peak() -> int:
    """Forget this process's largest resident set so far where the system can, and return where it stands, in bytes."""
    clear = Path('/proc/self/clear_refs')
    if clear.exists():
        clear.write_text('5')
    return peak_bytes()


def peak_bytes() -> int:
    """Largest resident set of this process."""
    status = Path('/proc/self/status')
    if status.exists():
        # getrusage would count the parent's memory from before exec.
        line = next(line for line in status.read_text().splitlines() if line.startswith('VmHWM'))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _serve(connection: Connection) -> None:
    """Run one process per request until the other side closes."""
    import_mmpretrain()
    can_fork = 'fork' in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context('fork' if can_fork else 'spawn')
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send_result, args=(sender, function, args))
        process.start()
        sender.close()
        try:
            result = receiver.recv()
        except EOFError:
            result = None
        process.join()
        # A killed process, which has a negative code, is one that asked for too much memory.
        connection.send((process.exitcode is not None and process.exitcode > 0, result))


def _send_result(sender: Connection, function: Callable[..., Any], args: tuple) -> None:
    import_mmpretrain()
    sender.send(function(*args))
