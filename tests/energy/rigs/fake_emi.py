"""A stand-in for setupapi and kernel32: devices of the Energy Meter Interface with set joules.

::

    windows = FakeWindows([FakeDevice([("RAPL_Package0_PKG", 0)])])
    meter = EmiMeter(calls=WindowsCalls(windows.load))
    windows.devices[0].add(0, joules=1.5)

The structures are packed here by hand from emi.h, so that a wrong offset in the meter shows.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from types import SimpleNamespace

INVALID = ctypes.c_void_p(-1).value
DENIED, NO_MORE = 5, 259
PICOWATT_HOURS_PER_JOULE = 1e12 / 3600


class FakeDevice:
    """A device with channels of these names and picowatt-hours."""

    def __init__(self, channels: list[tuple[str, int]], version: int = 2, unit: int = 0):
        self.version, self.unit = version, unit
        self.names = [name for name, _ in channels]
        self.energy = [energy for _, energy in channels]
        self.open_error = self.control_error = 0
        self.metadata_size: int | None = None
        self.opened = 0

    def add(self, channel: int, joules: float) -> None:
        self.energy[channel] += round(joules * PICOWATT_HOURS_PER_JOULE)

    def answer(self, code: int) -> bytes:
        """What the device answers to a control code, as in emi.h."""
        if code == 0x224000:
            return struct.pack("<H", self.version)
        if code == 0x224004:
            size = len(self._metadata()) if self.metadata_size is None else self.metadata_size
            return struct.pack("<I", size)
        if code == 0x224008:
            return self._metadata()
        if code == 0x22400C:
            return b"".join(struct.pack("<QQ", energy, 12345) for energy in self.energy)
        raise AssertionError(f"no such code {code:#x}")

    def _metadata(self) -> bytes:
        oem = "Contoso".encode("utf-16-le").ljust(32, b"\0")
        names = [f"{name}\0".encode("utf-16-le") for name in self.names]
        if self.version == 1:
            return (
                struct.pack("<i", self.unit)
                + oem
                + oem
                + struct.pack("<HH", 7, len(names[0]))
                + names[0]
            )
        channels = b"".join(struct.pack("<iH", self.unit, len(name)) + name for name in names)
        return oem + oem + struct.pack("<HH", 7, len(names)) + channels


class FakeWindows:
    """The functions of the two libraries, on these devices."""

    def __init__(self, devices: list[FakeDevice]):
        self.devices = devices
        self.list_error = 0
        self.lists_open = 0
        self.last_error = 0

    def load(self, name: str, use_last_error: bool) -> SimpleNamespace:
        assert use_last_error
        functions = {
            "setupapi": (
                self.SetupDiGetClassDevsW,
                self.SetupDiEnumDeviceInterfaces,
                self.SetupDiGetDeviceInterfaceDetailW,
                self.SetupDiDestroyDeviceInfoList,
            ),
            "kernel32": (self.CreateFileW, self.DeviceIoControl, self.CloseHandle),
        }[name]
        return SimpleNamespace(**{each.__name__: _Function(each) for each in functions})

    def SetupDiGetClassDevsW(self, guid, enumerator, parent, flags):
        # {45bd8344-7ed6-49cf-a440-c276c933b053}, the first three parts little-endian
        assert bytes(guid._obj).hex() == "4483bd45d67ecf49a440c276c933b053"
        assert flags == 0x12
        if self.list_error:
            return self._fail(self.list_error, INVALID)
        self.lists_open += 1
        return 99

    def SetupDiEnumDeviceInterfaces(self, found, info, guid, place, interface):
        assert interface._obj.size == ctypes.sizeof(type(interface._obj))
        if place >= len(self.devices):
            return self._fail(NO_MORE, 0)
        interface._obj.flags = place
        return 1

    def SetupDiGetDeviceInterfaceDetailW(self, found, interface, detail, size, needed, info):
        path = f"\\\\?\\emi#{interface._obj.flags}\0".encode("utf-16-le")
        if detail is None:
            needed._obj.value = 4 + len(path)
            return self._fail(122, 0)
        assert struct.unpack_from("<I", detail)[0] in (6, 8)
        detail[4 : 4 + len(path)] = path
        return 1

    def SetupDiDestroyDeviceInfoList(self, found):
        self.lists_open -= 1

    def CreateFileW(self, path, access, share, security, disposition, flags, template):
        place = int(path.rpartition("#")[2])
        if self.devices[place].open_error:
            return self._fail(self.devices[place].open_error, INVALID)
        self.devices[place].opened += 1
        return 1000 + place

    def DeviceIoControl(self, handle, code, given, given_size, answer, size, returned, overlapped):
        device = self.devices[handle - 1000]
        if device.control_error:
            return self._fail(device.control_error, 0)
        told = device.answer(code)[:size]
        answer[: len(told)] = told
        returned._obj.value = len(told)
        return 1

    def CloseHandle(self, handle):
        self.devices[handle - 1000].opened -= 1

    def _fail(self, error: int, result):
        self.last_error = error
        return result


class _Function:
    """A function with the attributes that ctypes gives one."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)


class Running:
    """Adds joules to channels every few milliseconds, in a ``with`` block."""

    def __init__(self, device: FakeDevice, joules_per_step: dict[int, float]):
        self._device, self._steps = device, joules_per_step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            for channel, joules in self._steps.items():
                self._device.add(channel, joules)
