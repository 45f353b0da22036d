#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py: a queue far larger than memory.

A broker with a data directory of its own gets N messages at QoS 1 for a session that is away. Then the session comes
back and takes them all: every one must be there, once, in order. Meanwhile the broker's memory is watched.

    ./dev soak                                   10 million messages of 1 KB within 256 MB; needs about 13 GB of disk
    bench/soak.py --messages 1000000 --bytes 100 --rss 64
    bench/soak.py --restart                      the broker is ended and started again before the session comes back

The peer is a few lines of MQTT 3.1.1 on bare sockets that knows its own messages: all have the same length, so they
need not be parsed. WEIR_BIN names the broker (build/release/weir if unset).
"""
import argparse
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOST = "127.0.0.1"
SESSION, TOPIC = b"soak", b"soak/x"
WINDOW, WINDOW_BYTES = 1000, 4 << 20  # messages on their way
DEADLINE_S = 120  # without any progress


class Failed(Exception):
    pass


# ------------------------------------------------------------------------------------------------ a little MQTT

def text(value):
    return struct.pack("!H", len(value)) + value


def packet(first, body):
    n, length = len(body), b""
    while True:
        n, low = n >> 7, n & 127
        length += bytes([low | (128 if n else 0)])
        if not n:
            return bytes([first]) + length + body


class Peer:
    def __init__(self, port, name, clean):
        self.sock = socket.create_connection((HOST, port), DEADLINE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(packet(0x10, text(b"MQTT") + bytes([4, 2 if clean else 0]) + b"\0\0" + text(name)))
        answer = self.exactly(4)
        if answer[0] != 0x20 or answer[3] != 0:
            raise Failed("CONNECT was answered with %r" % answer)
        self.present = answer[2] & 1

    def send(self, data):
        self.sock.sendall(data)

    def exactly(self, n):
        out = b""
        while len(out) < n:
            more = self.sock.recv(n - len(out))
            if not more:
                raise Failed("the broker hung up")
            out += more
        return out

    def subscribe(self, topic):
        self.send(packet(0x82, b"\0\1" + text(topic) + b"\1"))
        answer = self.exactly(5)
        if answer != b"\x90\x03\x00\x01\x01":
            raise Failed("SUBSCRIBE was answered with %r" % answer)

    def leave(self):
        self.send(b"\xe0\0")
        while self.sock.recv(65536):
            pass
        self.sock.close()


def publish_head(payload_bytes):
    """What stands in front of the packet id."""
    return packet(0x32, bytes(2 + len(TOPIC) + 2 + payload_bytes))[:-(4 + len(TOPIC) + payload_bytes)] + text(TOPIC)


def fill(port, n, payload_bytes, told=None):
    """Publishes 0 .. n - 1, a window of them without their PUBACK. Seconds."""
    peer = Peer(port, b"filler", True)
    head, rest = publish_head(payload_bytes), b"." * (payload_bytes - 8)
    pack, start, acked, sent, buffer = struct.Struct("!HQ").pack, time.monotonic(), 0, 0, b""
    window = max(4, min(WINDOW, WINDOW_BYTES // payload_bytes))
    burst = window // 4
    while acked < n:
        while sent < n and sent - acked <= window - burst:
            some = range(sent, min(sent + burst, n))
            peer.send(b"".join([head + pack(i % 60000 + 1, i) + rest for i in some]))
            sent = some.stop
        more = peer.sock.recv(65536)
        if not more:
            raise Failed("the broker hung up after %d of %d messages" % (acked, n))
        buffer += more
        whole = len(buffer) // 4
        if buffer[0:whole * 4:4].strip(b"\x40"):
            raise Failed("something else than a PUBACK came: %r" % buffer[:16])
        acked, buffer = acked + whole, buffer[whole * 4:]
        if told:
            told(acked)
    peer.leave()
    return time.monotonic() - start


def drain(port, n, payload_bytes, told=None):
    """The session comes back and takes n messages in order; then nothing more may come. Seconds."""
    start = time.monotonic()
    peer = Peer(port, SESSION, False)
    if not peer.present:
        raise Failed("the session is gone")
    head = publish_head(payload_bytes)
    size, at = len(head) + 2 + payload_bytes, len(head)
    unpack, pack = struct.Struct("!HQ").unpack_from, struct.Struct("!BBH").pack
    taken, buffer = 0, bytearray()
    while taken < n:
        more = peer.sock.recv(1 << 18)
        if not more:
            raise Failed("the broker hung up after %d of %d messages" % (taken, n))
        buffer += more
        acks = []
        for off in range(0, len(buffer) - size + 1, size):
            ident, number = unpack(buffer, off + at)
            if number != taken or not buffer.startswith(head, off):
                raise Failed("message %d came where %d belongs: %r" % (number, taken, bytes(buffer[off:off + 24])))
            taken += 1
            acks.append(pack(0x40, 2, ident))
        del buffer[:len(acks) * size]
        if acks:
            peer.send(b"".join(acks))
        if told:
            told(taken)
    peer.send(b"\xc0\0")  # a ping: its answer comes behind whatever is left
    rest = bytes(buffer) + peer.exactly(2 - len(buffer))
    if rest != b"\xd0\0":
        raise Failed("more came than was published: %r" % rest[:24])
    peer.leave()
    return time.monotonic() - start


# ------------------------------------------------------------------------------------------------ the broker

def status(pid, name):
    """A line of /proc/PID/status, in KB."""
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"^%s:\s+(\d+) kB" % name, file.read(), re.M).group(1))


class Broker:
    def __init__(self, binary, directory, config):
        self.argv = [binary, "-c", config, "--data", os.path.join(directory, "data")]
        self.start()

    def start(self):
        began = time.monotonic()
        self.child = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines, self.port = [], 0
        for line in self.child.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip())
            match = re.search(r"listening on 127\.0\.0\.1:(\d+)", self.lines[-1])
            if match:
                self.port = int(match.group(1))
                break
        if not self.port:
            raise Failed("the broker does not start:\n" + "\n".join(self.lines))
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        return time.monotonic() - began

    def read(self):
        for line in self.child.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip())

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(DEADLINE_S)
        self.reader.join()
        if code != 0:
            raise Failed("the broker ended with %d:\n%s" % (code, "\n".join(self.lines[-20:])))

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def config_text(rss_mb, soft_mb=0):
    """Limits out of the way; marks so that the whole of the process stays within rss_mb."""
    return "".join("%s\n" % line for line in (
        "listener 0 127.0.0.1", "allow_anonymous true", "max_queued_messages 0", "max_queued_bytes 0",
        "memory_soft_mark %dM" % (soft_mb or rss_mb // 4), "memory_high_mark %dM" % (rss_mb * 3 // 4),
        "memory_hard_mark %dM" % (rss_mb * 7 // 8)))


class Progress:
    """Says how far it is, once in a while, with the memory in use."""

    def __init__(self, pid, what, n, every_s):
        self.pid, self.what, self.n, self.every_s, self.next = pid, what, n, every_s, time.monotonic() + every_s

    def __call__(self, done):
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + self.every_s
        print("%s %d of %d, %.0f MB" % (self.what, done, self.n, status(self.pid, "VmRSS") / 1024), flush=True)


def soak(binary, directory, n, payload_bytes, rss_mb, restart=False, every_s=1e9):
    """All of it. Returns a dictionary of what was measured; raises Failed."""
    config = os.path.join(directory, "soak.conf")
    with open(config, "w") as file:
        file.write(config_text(rss_mb))
    broker, out = Broker(binary, directory, config), {}
    try:
        peer = Peer(broker.port, SESSION, False)
        peer.subscribe(b"soak/#")
        peer.leave()
        out["empty_mb"] = status(broker.child.pid, "VmRSS") / 1024
        out["fill_s"] = fill(broker.port, n, payload_bytes, Progress(broker.child.pid, "published", n, every_s))
        out["full_mb"] = status(broker.child.pid, "VmRSS") / 1024
        peak = status(broker.child.pid, "VmHWM")
        if restart:
            broker.stop()
            out["restart_s"] = broker.start()
            out["restarted_mb"] = status(broker.child.pid, "VmRSS") / 1024
            peak = max(peak, status(broker.child.pid, "VmHWM"))
        out["drain_s"] = drain(broker.port, n, payload_bytes, Progress(broker.child.pid, "taken", n, every_s))
        out["peak_mb"] = max(peak, status(broker.child.pid, "VmHWM")) / 1024
        broker.stop()
    finally:
        broker.kill()
    if out["peak_mb"] > rss_mb:
        raise Failed("%.1f MB of memory were in use, %d MB are allowed: %s" % (out["peak_mb"], rss_mb, out))
    return out


def main():
    parser = argparse.ArgumentParser(description="a queue far larger than memory")
    parser.add_argument("--messages", type=int, default=10000000)
    parser.add_argument("--bytes", type=int, default=1024, help="of each payload, at least 8")
    parser.add_argument("--rss", type=int, default=256, help="MB the broker may use")
    parser.add_argument("--restart", action="store_true", help="end and start the broker before the session comes back")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where the data directory is made")
    args = parser.parse_args()
    binary = os.environ.get("WEIR_BIN") or os.path.join(ROOT, "build", "release", "weir")
    if args.bytes < 8 or args.messages < 1:
        parser.error("at least one message of 8 bytes")
    need = args.messages * (args.bytes + 128) * 5 // 4
    if shutil.disk_usage(args.directory).free < need:
        parser.error("%s needs %d GB free; --directory names another place" % (args.directory, (need >> 30) + 1))
    directory = tempfile.mkdtemp(prefix="weir-soak-", dir=args.directory)
    try:
        out = soak(binary, directory, args.messages, args.bytes, args.rss, args.restart, 10)
    except Failed as why:
        print("soak: %s" % why, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    n = args.messages
    print("%d messages of %d bytes, all there, in order" % (n, args.bytes))
    print("memory: %.1f MB empty, %.1f full (%.1f bytes per message), %.1f at most, %d allowed" % (
        out["empty_mb"], out["full_mb"], (out["full_mb"] - out["empty_mb"]) * 1048576 / n, out["peak_mb"], args.rss))
    print("published %.0f/s, taken %.0f/s" % (n / out["fill_s"], n / out["drain_s"]))
    if args.restart:
        print("started again in %.1f s, %.1f MB then" % (out["restart_s"], out["restarted_mb"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
