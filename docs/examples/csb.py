#!/usr/bin/env python3
"""A client in another language: sends and receives frames in CSB mode, knowing docs/protocol.md and nothing else.

    csb.py SOCKET PORT COUNT      sends COUNT frames, and prints what comes back until as many came
"""

import fcntl
import mmap
import os
import socket
import struct
import sys

MAGIC, REPLY = 0x51524D4E, 0x50524D4E
HELLO, CLOSE, NIOCCTRL = 1, 2, 151
REGISTER, KLOOP_START, KLOOP_STOP = 1, 13, 14
OPTION_CSB = 3
NR_REG_ALL_NIC, NR_EXCLUSIVE = 1, 0x800
F_ADD_SEALS, SEAL_SEAL_SHRINK_GROW = 1033, 7
HEADER, ENTRY, KTOA = 88, 64, 4096
FD = 1


class Module:
    """The control socket: requests in frames."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.last = 0
        self.ask(HELLO, struct.pack("<I", os.getpid()))

    def send(self, request, payload=b""):
        self.last += 1
        self.socket.sendall(struct.pack("<6I", MAGIC, 24 + len(payload), request, FD, self.last, 0) + payload)
        return self.last

    def receive(self, wanted):
        while True:
            head = self.socket.recv(24, socket.MSG_WAITALL)
            magic, length, _request, _fd, number, result = struct.unpack("<5Ii", head)
            payload = self.socket.recv(length - 24, socket.MSG_WAITALL) if length > 24 else b""
            assert magic == REPLY
            if number == wanted:
                if result:
                    raise OSError(result, os.strerror(result))
                return payload

    def ask(self, request, payload=b""):
        return self.receive(self.send(request, payload))


def control(kind, name=b"", body=b"", options=b""):
    """struct nmreq_header, body, options; pointers are offsets from the header."""
    body_at = HEADER if body else 0
    options_at = HEADER + len(body) if options else 0
    return struct.pack("<HHI64sQQ", 14, kind, 0, name, options_at, body_at) + body + options


class Ring:
    """A ring of the region, and its two CSB entries."""

    def __init__(self, region, at, csb, nth):
        self.region, self.at, self.csb = region, at, csb
        self.atok, self.ktoa = nth * ENTRY, KTOA + nth * ENTRY
        self.buf_ofs, self.slots, self.size = struct.unpack_from("<qII", region, at)
        self.head = 0

    @property
    def hwtail(self):
        return struct.unpack_from("<I", self.csb, self.ktoa + 4)[0]

    def slot(self):
        return self.at + 256 + 16 * self.head

    def buffer(self):
        index = struct.unpack_from("<I", self.region, self.slot())[0]
        return self.at + self.buf_ofs + index * self.size

    def publish(self):
        struct.pack_into("<I", self.csb, self.atok + 4, self.head)  # cur, then head
        struct.pack_into("<I", self.csb, self.atok, self.head)

    def step(self):
        self.head = (self.head + 1) % self.slots


def main(path, port, count):
    module = Module(path)

    csb_fd = os.memfd_create("csb", os.MFD_ALLOW_SEALING)
    os.ftruncate(csb_fd, 65536)
    fcntl.fcntl(csb_fd, F_ADD_SEALS, SEAL_SEAL_SHRINK_GROW)
    csb = mmap.mmap(csb_fd, 65536)

    body = struct.pack("<QQIIHHHHHHIII Q", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NR_REG_ALL_NIC, 0, 0, NR_EXCLUSIVE)
    memory = (csb_fd + 1) << 32
    option = struct.pack("<QIIQQQ", 0, OPTION_CSB, 0, 0, memory, memory | KTOA)
    request = control(REGISTER, port.encode(), body, option)
    reply = module.ask(NIOCCTRL, request)
    nifp = struct.unpack_from("<Q", reply, HEADER)[0]
    size, pid, fd = struct.unpack_from("<QII", reply, len(request))
    region_fd = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR)
    region = mmap.mmap(region_fd, size)

    tx_rings = struct.unpack_from("<I", region, nifp + 24)[0]
    ring_ofs = lambda nth: nifp + struct.unpack_from("<q", region, nifp + 56 + 8 * nth)[0]
    tx = Ring(region, ring_ofs(0), csb, 0)
    rx = Ring(region, ring_ofs(tx_rings + 1), csb, tx_rings)  # one host ring lies between

    loop = module.send(NIOCCTRL, control(KLOOP_START, body=struct.pack("<II", 50, 0)))
    sent = received = 0
    while received < count:
        # A switch drops what a busy receiver has no room for: no more than this many are under way.
        while sent < min(count, received + 500) and tx.head != tx.hwtail:
            frame = b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 7]) + struct.pack(">HI", 0x0800, sent) + bytes(42)
            at = tx.buffer()
            region[at : at + len(frame)] = frame
            struct.pack_into("<HH", region, tx.slot() + 4, len(frame), 0)
            tx.step()
            sent += 1
        tx.publish()
        while rx.head != rx.hwtail:
            length = struct.unpack_from("<H", region, rx.slot() + 4)[0]
            at = rx.buffer()
            print(struct.unpack_from(">I", region, at + 14)[0], length)
            rx.step()
            received += 1
        rx.publish()
    module.ask(NIOCCTRL, control(KLOOP_STOP))
    module.receive(loop)
    module.ask(CLOSE)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
