"""One end of a socket pair between the main process and a worker: one JSON object a line."""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from json import dumps, loads  # a test may patch them in the module

from pytest_energy.commits.protocol import Message, from_json, to_json
from pytest_energy.errors import EnergyError


class ChannelClosed(EnergyError):
    """The other process has ended, or sent something that is not a message."""


class ChannelTimeout(EnergyError):
    """The other process did not answer in time."""


class Channel:
    """One end. Processes that the code under test forks do not keep it open."""

    def __init__(self, end: socket.socket):
        self._end = end
        self._unread = b""
        self.kept_by_next_fork = False
        end.set_inheritable(False)
        reference = weakref.ref(self)

        def after_fork() -> None:
            channel = reference()
            if channel is not None and not channel.kept_by_next_fork:
                channel._end.close()

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=after_fork)

    def send(self, message: Message) -> None:
        """Raises `ChannelClosed`."""
        try:
            self._end.sendall(dumps(to_json(message)).encode() + b"\n")
        except OSError as error:
            raise ChannelClosed(f"the worker has ended: {error}") from None

    def receive(self, limit_s: float | None = None) -> Message:
        """The next message. Raises `ChannelClosed`, and with ``limit_s`` `ChannelTimeout`."""
        try:
            self._end.settimeout(limit_s)
            while b"\n" not in self._unread:
                more = self._end.recv(65536)
                if not more:
                    raise ChannelClosed("the worker has ended")
                self._unread += more
        except TimeoutError:
            raise ChannelTimeout(f"the worker did not answer within {limit_s:g} s") from None
        except OSError as error:
            raise ChannelClosed(f"the worker has ended: {error}") from None
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            return from_json(loads(line))
        except (ValueError, KeyError, TypeError):
            raise ChannelClosed(f"the worker sent no message but {line[:80]!r}") from None

    def close(self) -> None:
        """The other end then reads the end of the stream, even if a forked process has a copy."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()
