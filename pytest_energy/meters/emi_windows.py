"""Windows's own calls for the Energy Meter Interface, by ctypes.

``setupapi`` lists the devices, and ``kernel32`` opens them and sends control codes: Microsoft's
pages on SetupDiGetClassDevsW, SetupDiGetDeviceInterfaceDetailW, CreateFileW and DeviceIoControl.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Callable
from ctypes import byref, c_ubyte, c_uint32, c_void_p, c_wchar_p
from typing import Any

GENERIC_READ, SHARE_READ_WRITE, OPEN_EXISTING = 0x80000000, 1 | 2, 3
PRESENT, DEVICE_INTERFACE = 0x2, 0x10  # DIGCF_
INVALID_HANDLE = c_void_p(-1).value
NO_MORE_ITEMS = 259
# GUID_DEVICE_ENERGY_METER of emi.h.
GUID = "45bd8344-7ed6-49cf-a440-c276c933b053"
# More devices, or longer paths, are no machine's.
MOST_DEVICES, MOST_PATH_BYTES = 256, 1 << 16


class DeviceInterfaceData(ctypes.Structure):
    """SP_DEVICE_INTERFACE_DATA."""

    _fields_ = (
        ("size", c_uint32),
        ("guid", c_ubyte * 16),
        ("flags", c_uint32),
        ("reserved", c_void_p),
    )


# SP_DEVICE_INTERFACE_DETAIL_DATA_W: a size, and the path. The size that callers state is that of
# the structure with one character, and padded on 64 bits.
DETAIL_SIZE = 8 if ctypes.sizeof(c_void_p) == 8 else 6
PATH_AT = 4


class WindowsCalls:
    """`emi.EmiCalls` by the libraries that ``load`` opens.

    These are ``ctypes.WinDLL`` and ``ctypes.get_last_error``, which only Windows has.
    """

    def __init__(self, load: Callable[..., Any], last_error: Callable[[], int]):
        self._last_error = last_error
        self._setup = load("setupapi", use_last_error=True)
        self._kernel = load("kernel32", use_last_error=True)
        self._setup.SetupDiGetClassDevsW.restype = c_void_p
        self._setup.SetupDiGetClassDevsW.argtypes = (c_void_p, c_wchar_p, c_void_p, c_uint32)
        self._setup.SetupDiEnumDeviceInterfaces.argtypes = (
            c_void_p, c_void_p, c_void_p, c_uint32, c_void_p,
        )  # fmt: skip
        self._setup.SetupDiGetDeviceInterfaceDetailW.argtypes = (
            c_void_p, c_void_p, c_void_p, c_uint32, c_void_p, c_void_p,
        )  # fmt: skip
        self._setup.SetupDiDestroyDeviceInfoList.argtypes = (c_void_p,)
        self._kernel.CreateFileW.restype = c_void_p
        self._kernel.CreateFileW.argtypes = (
            c_wchar_p, c_uint32, c_uint32, c_void_p, c_uint32, c_uint32, c_void_p,
        )  # fmt: skip
        self._kernel.DeviceIoControl.argtypes = (
            c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, c_void_p, c_void_p,
        )  # fmt: skip
        self._kernel.CloseHandle.argtypes = (c_void_p,)

    def devices(self) -> list[str]:
        """The paths of the devices that count energy. Raises `OSError`."""
        guid = (c_ubyte * 16).from_buffer_copy(uuid.UUID(GUID).bytes_le)
        found = self._setup.SetupDiGetClassDevsW(
            byref(guid), None, None, PRESENT | DEVICE_INTERFACE
        )
        if found == INVALID_HANDLE:
            raise self._failed("SetupDiGetClassDevsW")
        try:
            return [
                path for place in range(MOST_DEVICES) if (path := self._path(found, guid, place))
            ]
        finally:
            self._setup.SetupDiDestroyDeviceInfoList(found)

    def open(self, path: str) -> int:
        """A handle of the device. Raises `OSError`."""
        handle = self._kernel.CreateFileW(
            path, GENERIC_READ, SHARE_READ_WRITE, None, OPEN_EXISTING, 0, None
        )
        if handle == INVALID_HANDLE:
            raise self._failed("CreateFileW")
        return int(handle)

    def control(self, handle: int, code: int, size: int) -> bytes:
        """The device's answer to the control code. Raises `OSError`."""
        answer, returned = ctypes.create_string_buffer(size), c_uint32(0)
        done = self._kernel.DeviceIoControl(
            handle, code, None, 0, answer, size, byref(returned), None
        )
        if not done:
            raise self._failed("DeviceIoControl")
        return answer.raw[: returned.value]

    def close(self, handle: int) -> None:
        """Release the handle."""
        self._kernel.CloseHandle(handle)

    def _path(self, found: Any, guid: Any, place: int) -> str | None:
        """The path of a device, or None after the last."""
        interface = DeviceInterfaceData(size=ctypes.sizeof(DeviceInterfaceData))
        if not self._setup.SetupDiEnumDeviceInterfaces(
            found, None, byref(guid), place, byref(interface)
        ):
            if self._last_error() == NO_MORE_ITEMS:
                return None
            raise self._failed("SetupDiEnumDeviceInterfaces")
        needed = c_uint32(0)
        # The first call fails, and says how many bytes the path takes.
        self._setup.SetupDiGetDeviceInterfaceDetailW(
            found, byref(interface), None, 0, byref(needed), None
        )
        if not PATH_AT < needed.value <= MOST_PATH_BYTES:
            raise self._failed("SetupDiGetDeviceInterfaceDetailW")
        detail = ctypes.create_string_buffer(needed.value)
        c_uint32.from_buffer(detail).value = DETAIL_SIZE
        if not self._setup.SetupDiGetDeviceInterfaceDetailW(
            found, byref(interface), detail, needed, None, None
        ):
            raise self._failed("SetupDiGetDeviceInterfaceDetailW")
        return detail.raw[PATH_AT:].decode("utf-16-le", errors="replace").partition("\0")[0]

    def _failed(self, call: str) -> OSError:
        number = self._last_error()
        return OSError(number, f"{call} failed with Windows's error {number}")
