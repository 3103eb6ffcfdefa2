"""One end of a socket pair between the main process and a worker: one JSON object a line."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import weakref
from collections.abc import Callable
from json import dumps, loads  # a test may patch them in the module

from pytest_energy.clock import now_s
from pytest_energy.commits.protocol import Message, from_json, to_json
from pytest_energy.descriptors import CLOSED, OwnDescriptor
from pytest_energy.errors import EnergyError

# How often a process that waits for a message looks whether the sender is still there.
ALIVE_CHECK_S = 1.0
SHORTEST_WAIT_S = 0.001  # a timeout of 0 would make the socket non-blocking


class ChannelClosed(EnergyError):
    """The other process has ended, or sent something that is not a message."""


class ChannelTimeout(EnergyError):
    """The other process did not answer in time."""


class Channel:
    """One end. Processes that the code under test forks do not keep it open."""

    def __init__(self, end: socket.socket):
        self._end = end
        self._descriptor = OwnDescriptor(end.fileno())
        self._unread = b""
        self.kept_by_next_fork = False
        end.set_inheritable(False)
        reference = weakref.ref(self)

        def after_fork() -> None:
            channel = reference()
            if channel is not None and not channel.kept_by_next_fork:
                channel._close_end()

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=after_fork)

    def send(self, message: Message) -> None:
        """Raises `ChannelClosed`."""
        try:
            self._require_open()
            self._end.settimeout(None)
            self._end.sendall(dumps(to_json(message)).encode() + b"\n")
        except OSError as error:
            raise ChannelClosed(f"the worker has ended: {error}") from None

    def receive(
        self, limit_s: float = math.inf, sender_lives: Callable[[], bool] = lambda: True
    ) -> Message:
        """The next message. Raises `ChannelClosed`, and with ``limit_s`` `ChannelTimeout`.

        A process that a C library forked may hold the other end open after its owner has ended, so
        ``sender_lives`` is asked from time to time.
        """
        ends_s = now_s() + limit_s
        try:
            while b"\n" not in self._unread:
                self._require_open()
                self._end.settimeout(min(ALIVE_CHECK_S, max(ends_s - now_s(), SHORTEST_WAIT_S)))
                lived = sender_lives()
                try:
                    more = self._end.recv(65536)
                except TimeoutError:
                    if not lived:
                        raise ChannelClosed("the worker has ended") from None
                    if now_s() >= ends_s:
                        raise ChannelTimeout(
                            f"the worker did not answer within {limit_s:g} s"
                        ) from None
                    continue
                if not more:
                    raise ChannelClosed("the worker has ended")
                self._unread += more
        except OSError as error:
            raise ChannelClosed(f"the worker has ended: {error}") from None
        line, _, self._unread = self._unread.partition(b"\n")
        return parse(line)

    def close(self) -> None:
        """The other end then reads the end of the stream, even if a forked process has a copy."""
        if self._descriptor.is_ours():
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_RDWR)
        self._close_end()

    @property
    def is_lost(self) -> bool:
        """Whether code under test has closed this end."""
        return not self._descriptor.is_ours()

    def _require_open(self) -> None:
        if self.is_lost:
            raise ChannelClosed(f"no connection to the worker: {CLOSED}")

    def _close_end(self) -> None:
        if self._descriptor.is_ours():
            self._end.close()
        else:
            self._end.detach()  # the number is closed, or another file's by now


def parse(line: bytes) -> Message:
    """The message in a line. Raises `ChannelClosed`: the other side may run anybody's code."""
    try:
        return from_json(loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ChannelClosed(f"the worker sent no message but {line[:80]!r}") from None
