# SPDX-License-Identifier: Apache-2.0
"""The log's format, as persist/wal_file.c and persist/record.proto write it down: a reader in another language, made from
these two alone, reads what the broker wrote, and finds what `weir check-log --json` finds."""
import json
import os
import signal
import struct
import subprocess
import time

from harness import E2E, HOST, V5, WEIR_BIN, main

KINDS = {1: "PUBLISH", 2: "SETTLE", 3: "RETAIN", 4: "SESSION", 5: "SESSION_END", 6: "QUEUE", 7: "QUEUE_END", 8: "BIND", 9: "UNBIND",
         10: "RX_RELEASE", 11: "MEMBER", 12: "MEMBER_END", 13: "EXCHANGE", 14: "EXCHANGE_END", 15: "TX", 16: "TX_END",
         17: "SENT", 18: "RECEIVED", 19: "RETURNED", 20: "WILL"}
BATCH, NOTES, VOID = 64, 65, 66
TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


# ---- protobuf

def varint(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return n, at


def fields(data):
    """{number: [values]}: numbers, or bytes."""
    out, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 1:
            value, at = data[at:at + 8], at + 8
        else:
            assert tag & 7 == 2, tag
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
            assert len(value) == n
        out.setdefault(tag >> 3, []).append(value)
    return out


def packed(data):
    out, at = [], 0
    while at < len(data):
        n, at = varint(data, at)
        out.append(n)
    return out


# ---- the log

class Segment:
    """One file, read from its head to its end; every deviation from the format is an assertion."""

    def __init__(self, path, number):
        with open(path, "rb") as file:
            self.data = data = file.read()
        assert data[:8] == b"WEIRLOG\n", data[:8]
        version, head, here, salt, self.size, self.made = struct.unpack_from("<IIQQQQ", data, 8)
        assert (version, head, here) == (1, 64, number) and data[48:60] == b"\0" * 12
        assert struct.unpack_from("<I", data, 60)[0] == crc32c(data[:60])
        assert self.size % 8 == 0 and len(data) >= self.size
        self.salt = struct.pack("<Q", salt)
        self.frames = []  # (kind, flags, lsn, body, raw)
        at = part_end = 64
        while self.size - at >= 24 and data[at:at + 24] != b"\0" * 24:
            kind, bytes_n = self.frame(at)
            if kind == BATCH:
                assert at == part_end
                part_end = at + struct.unpack("<Q", self.frames[-1][4])[0]
            at += bytes_n
            assert at <= part_end
        assert at == part_end
        self.end = at

    def frame(self, at):
        crc, n, lsn, body_n, kind, flags, check = struct.unpack_from("<IIQIBBH", self.data, at)
        assert n >= 24 and body_n <= n - 24
        rounded = (n + 7) // 8 * 8
        assert crc32c(self.salt + self.data[at + 4:at + 22]) & 0xffff == check
        assert crc32c(self.salt + self.data[at + 4:at + rounded]) == crc, "frame at %d" % at
        assert self.data[at + n:at + rounded] == b"\0" * (rounded - n)
        body, raw = self.data[at + 24:at + 24 + body_n], self.data[at + 24 + body_n:at + n]
        self.frames.append((kind, flags, lsn, body, raw))
        return kind, rounded


class Log:
    def __init__(self, directory):
        names = sorted(name for name in os.listdir(directory) if name.startswith("wal-"))
        self.segments = [Segment(os.path.join(directory, name), int(name[4:20], 16)) for name in names]
        self.counts = dict.fromkeys(KINDS.values(), 0)
        self.publishes, self.batches, self.stamp = [], [], 0
        for segment in self.segments:
            for frame in segment.frames:
                self.take(*frame)

    def take(self, kind, flags, lsn, body, raw):
        if kind == BATCH:
            f = fields(body)
            self.batches.append((lsn, f.get(2, [0])[0]))
            self.stamp = max(self.stamp, f[1][0])
        elif kind == NOTES:
            self.notes(packed(fields(body).get(1, [b""])[0]))
        elif kind in KINDS:
            self.counts[KINDS[kind]] += 1
            if kind in (1, 3, 20):
                f = fields(body)
                topic = f[2][0] - 1 if 2 in f else 0
                self.publishes.append((raw[:topic], raw[topic:], f))
        else:
            assert kind == VOID

    def notes(self, numbers):
        at, before = 0, 0

        def next_one():
            nonlocal at
            at += 1
            return numbers[at - 1]

        def next_of():
            nonlocal before
            z = next_one()
            before += z >> 1 if z & 1 == 0 else -(z >> 1) - 1
            return before

        while at < len(numbers):
            next_one()
            for _ in range(next_one()):
                assert next_of() > 0
                what = next_one() & 3
                if what == 0:
                    next_one()
                self.counts[("SENT", "SENT", "RECEIVED", "RETURNED")[what]] += 1
            for _ in range(next_one()):
                assert next_of() > 0
                more = next_one()
                self.counts["SETTLE"] += more + 1
                before += more
        assert at == len(numbers)


class Format(E2E):
    ARGS = None

    def begin(self):
        self.log = os.path.join(self.directory, "log")
        path = self.write("weir.conf", "listener 0 %s\npersistence_location %s\npersistence_segment_size 64K\n" % (HOST, self.log))
        self.broker = self.start("-c", path)
        self.port = self.broker.port
        self.broker.wait_line(r"in %s: \d+ records found" % self.log)

    def traffic(self, big):
        away = self.mqtt("away", version=V5, clean=False, expiry_s=3600)
        away.subscribe("t/#", qos=1)
        away.disconnect()
        pub = self.mqtt("pub", version=V5)
        for i in range(200):
            pub.publish("t/%d" % i, b"payload %d " % i + b"x" * (big if i % 10 == 0 else i), qos=1)
        pub.publish("kept", b"retained", qos=1, retain=True)
        away = self.mqtt("away", version=V5, clean=False, expiry_s=3600)
        for i in range(200):
            assert away.next().topic == "t/%d" % i
        away.disconnect()

    def check(self):
        done = subprocess.run([WEIR_BIN, "check-log", "--json", self.log], capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        report, log = json.loads(done.stdout), Log(self.log)
        self.assertFalse(report["damaged"])
        self.assertEqual(report["stretches"], [])
        self.assertEqual(report["records"], log.counts)
        self.assertEqual(report["batch_parts"], len(log.batches))
        self.assertEqual(report["stamp_ms"], log.stamp)
        self.assertEqual([(s["number"], s["end"]) for s in report["segments"]],
                         [(int(n), s.end) for n, s in zip((s["number"] for s in report["segments"]), log.segments)])
        for (a, a_part), (b, b_part) in zip(log.batches, log.batches[1:]):
            self.assertIn((b, b_part), ((a + 1, 0), (a, a_part + 1)))
        self.assertLess(abs(log.stamp / 1000 - time.time()), 3600)
        return log

    def test_a_reader_made_from_the_essay(self):
        self.begin()
        self.traffic(big=9000)
        self.broker.stop()
        log = self.check()
        found = {topic: payload for topic, payload, _ in log.publishes}
        self.assertEqual(found[b"kept"], b"retained")
        for i in range(1, 200, 10):
            self.assertEqual(found[b"t/%d" % i], b"payload %d " % i + b"x" * i)
        self.assertGreater(len(log.segments), 2)

    def test_after_kill_9(self):
        self.begin()
        self.traffic(big=100)
        self.broker.stopped = True
        self.broker.child.send_signal(signal.SIGKILL)
        self.broker.child.wait()
        self.broker.kill()
        self.check()


if __name__ == "__main__":
    main()
