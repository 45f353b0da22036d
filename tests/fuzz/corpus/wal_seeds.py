#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""wal_seeds.py: writes tests/fuzz/corpus/wal/: inputs of tests/fuzz/fuzz_wal.c that say how a log looks.

Two small readings of persist/wal_file.c and persist/record.proto in another language: heads and frames with their
checksums (for inputs that are files), and protobuf bodies (for inputs whose frames the fuzzer seals).
"""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wal")
SIZE, SALT = 4096, 0x1122334455667788
PUBLISH, SETTLE, RETAIN, SESSION, QUEUE, BIND, TX, TX_END, WILL, BATCH, NOTES = 1, 2, 3, 4, 6, 8, 15, 16, 20, 64, 65


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


# ---- protobuf

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def block(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def packed(field, numbers):
    return block(field, b"".join(varint(n) for n in numbers))


def publish(topic, payload, queues=(7,), more=b""):
    body = number(1, 1700000000000) + number(2, len(topic) + 1) + packed(3, queues) + packed(4, [1] * len(queues)) + more
    return body, topic + payload


ATTRIBUTE = block(13, number(1, 1) + block(2, b"key") + block(3, b"value"))
POLICY = block(16, number(1, 1000) + block(8, b"dlx") + number(15, 1) + number(18, 1))
EXCHANGE = block(17, block(1, b"x") + number(2, 2) + number(3, 1))

RECORDS = [  # kind, (body, raw)
    (SESSION, (number(1, 5) + number(3, 9) + block(5, b"client-1") + number(9, 3600), b"")),
    (QUEUE, (number(2, 7) + number(3, 9) + block(5, b"q") + POLICY, b"")),
    (13, (number(2, 4) + block(5, b"x") + EXCHANGE, b"")),
    (BIND, (number(2, 7) + block(5, b"amq.topic") + block(6, b"a/#") + number(11, 1), b"")),
    (PUBLISH, publish(b"a/b", b"hello")),
    (PUBLISH, publish(b"a/c", b"to many", (7, 8, 300), packed(14, [0, 2, 1]) + packed(15, [1, 2, 3]) + ATTRIBUTE)),
    (PUBLISH, publish(b"a/d", b"far", (7,), packed(16, [1]) + packed(17, [55]) + packed(18, [2]) + packed(19, [9]))),
    (PUBLISH, publish(b"a/e", b"later", (0,), block(23, b"amq.topic") + number(24, 1800000000000))),
    (RETAIN, publish(b"r", b"kept", ())),
    (WILL, (publish(b"w", b"gone", ())[0] + number(8, 9) + number(25, 30), b"wgone")),
    (TX, (b"", b"")),
    (SETTLE, (number(2, 7) + number(4, 5), b"")),
    (TX_END, (b"", b"")),
    (NOTES, (packed(1, [7, 2, 10, 5 << 2 | 1, 2, 6 << 2 | 0, 9, 1, 4, 2]), b"")),
    (40, (b"of a later broker", b"")),
]


# ---- inputs whose frames the fuzzer seals

def loose(kind, body, raw, flags=0, lsn=1):
    return bytes([kind, flags, lsn]) + struct.pack("<HB", len(body), len(raw)) + body + raw


def loose_batch(n, part=0):
    return loose(BATCH, number(1, 1700000000000 + n) + (number(2, part) if part else b""), b"\0" * 8, lsn=n)


def sealed(frames, flips=()):
    return bytes([1 | len(flips) << 1]) + b"".join(frames) + b"".join(struct.pack("<HB", *f) for f in flips)


# ---- inputs that are files

def frame(kind, body, raw, lsn):
    padding = b"\0" * (-(24 + len(body) + len(raw)) % 8)
    salt = struct.pack("<Q", SALT)
    head = struct.pack("<IQIBB", 24 + len(body) + len(raw), lsn, len(body), kind, 0)
    head += struct.pack("<H", crc32c(salt + head) & 0xffff)
    return struct.pack("<I", crc32c(salt + head + body + raw + padding)) + head + body + raw + padding


def part(n, frames, index=0):
    body = number(1, 1700000000000 + n) + (number(2, index) if index else b"")
    size = len(frame(BATCH, body, b"\0" * 8, n)) + len(frames)
    return frame(BATCH, body, struct.pack("<Q", size), n) + frames


def segment(n, parts, version=1):
    head = b"WEIRLOG\n" + struct.pack("<IIQQQQ", version, 64, n, SALT, SIZE, 1700000000000) + b"\0" * 12
    return (head + struct.pack("<I", crc32c(head)) + parts).ljust(SIZE, b"\0")


def files(*segments):
    return b"\0" + b"".join(segments)


def main():
    os.makedirs(HERE, exist_ok=True)
    frames = b"".join(frame(kind, body, raw, lsn + 1) for lsn, (kind, (body, raw)) in enumerate(RECORDS))
    few = frame(SESSION, RECORDS[0][1][0], b"", 90)
    all_loose = [loose(kind, body, raw, lsn=lsn + 1) for lsn, (kind, (body, raw)) in enumerate(RECORDS)]
    two = [loose_batch(1)] + all_loose + [loose_batch(2)] + all_loose[4:6]
    seeds = {
        "sealed": sealed([loose_batch(1)] + all_loose),
        "two_batches": sealed(two),
        "flipped": sealed(two, [(200, 4)]),
        "flipped_twice": sealed(two, [(300, 1), (1200, 128)]),
        "flipped_head": sealed(two, [(17, 1)]),
        "copies": sealed([loose_batch(1)] + [loose(k, b, r, 1, 3) for k, (b, r) in RECORDS[:10]]),
        "file": files(segment(1, part(1, frames) + part(2, few))),
        "two_files": files(segment(1, part(1, frames)), segment(2, part(1, few, 1) + part(2, few))),
        "torn": files(segment(1, part(1, frames) + part(2, few)[:-20])),
        "torn_over_two": files(segment(1, part(1, few) + part(2, frames)[:-40]), segment(2, part(2, few, 1))),
        "newer": files(segment(1, b"", 2)),
        "cut": files(segment(1, part(1, frames)))[:700],
    }
    for name, data in seeds.items():
        with open(os.path.join(HERE, name + ".bin"), "wb") as out:
            out.write(data)


main()
