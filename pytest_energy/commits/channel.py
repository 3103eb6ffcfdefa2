"""Messages between two processes of ours: one JSON object a line, over a socket pair."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from pytest_energy.errors import EnergyError


class ChannelClosed(EnergyError):
    """The other process is gone."""


class ChannelTimeout(EnergyError):
    """The other process did not answer in time."""


class Channel:
    """One end."""

    def __init__(self, end: socket.socket):
        self._end = end
        self._rest = b""

    def send(self, **message: Any) -> None:
        """Raises `ChannelClosed`."""
        try:
            self._end.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise ChannelClosed(f"a worker is gone: {error}") from None

    def receive(self, limit_s: float | None = None) -> Mapping[str, Any]:
        """The next message. Raises `ChannelClosed` and, where ``limit_s`` is given, `ChannelTimeout`."""
        self._end.settimeout(limit_s)
        while b"\n" not in self._rest:
            try:
                more = self._end.recv(65536)
            except TimeoutError:
                raise ChannelTimeout(f"a worker did not answer within {limit_s:g} s") from None
            except OSError as error:
                raise ChannelClosed(f"a worker is gone: {error}") from None
            if not more:
                raise ChannelClosed("a worker is gone")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        message: Mapping[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        self._end.close()
