# SPDX-License-Identifier: Apache-2.0
"""recording.py: a record of fault.c, and what a disk may hold when the power goes at some moment of it.

    recording = Recording(path)             all operations, and the tests' marks between them, in order
    disk = Disk(); disk.apply(op) ...       up to the cut
    disk.image(random, mode, directory)     one of the states that a crash may leave

What a sync has covered is there. Of what came after the last sync of its file each sector of 512 bytes is there or not,
by itself ("scatter"), or all up to some write that is torn ("prefix"), or nothing ("none"), or everything ("all"). Names
that were made, changed or removed after the last sync of the directory are there or not, too: in order up to some point,
or each by itself. A file whose name was not made durable is not there, however often it was synced itself.
"""
import os
import struct

SECTOR = 512
HEAD = struct.Struct("<B3xIQQQ")
MODES = ("none", "scatter", "prefix", "all")


class Op:
    __slots__ = ("kind", "name", "file", "off", "n", "data")

    def __init__(self, kind, name, file, off, n, data):
        self.kind, self.name, self.file, self.off, self.n, self.data = kind, name, file, off, n, data

    def __repr__(self):
        return "%s %s file=%d off=%d n=%d" % (self.kind, self.name, self.file, self.off, self.n)


def read(path):
    """[Op] of a record file."""
    with open(path, "rb") as file:
        log = file.read()
    ops, at = [], 0
    while at + HEAD.size <= len(log):
        kind, name_n, number, off, n = HEAD.unpack_from(log, at)
        at += HEAD.size
        kind, name, data = chr(kind), log[at:at + name_n].decode(), b""
        at += name_n
        if kind in "WM":
            data = log[at:at + n]
            at += n
        ops.append(Op(kind, name, number, off, n, data))
    assert at == len(log), "the record ends in the middle of an operation"
    return ops


class File:
    def __init__(self):
        self.durable, self.pending = bytearray(), []  # pending: (off, n, data or None for zeros), or (None, size, None)


def put(content, off, n, data):
    if len(content) < off + n:
        content.extend(bytes(off + n - len(content)))
    content[off:off + n] = data if data is not None else bytes(n)


def put_any(content, change):
    off, n, data = change
    if off is not None:
        put(content, off, n, data)
    elif n < len(content):
        del content[n:]
    else:
        content.extend(bytes(n - len(content)))


class Disk:
    def __init__(self):
        self.files = {}                  # inode -> File, as it is now
        self.names, self.durable = {}, {}  # name -> File: as it is now; as the directory was synced last
        self.changes = []                # of names since: ("+", name, File), ("R", from, to), ("-", name)

    def apply(self, op):
        if op.kind == "C":
            made = self.files[op.file] = self.names[op.name] = File()
            self.changes.append(("+", op.name, made))
        elif op.kind == "O":
            assert self.files.get(op.file) is self.names.get(op.name), "%r is another file" % op
        elif op.kind == "W" or op.kind == "Z":
            self.files[op.file].pending.append((op.off, op.n, op.data if op.kind == "W" else None))
        elif op.kind == "T":
            self.files[op.file].pending.append((None, op.n, None))
        elif op.kind == "S":
            file = self.files[op.file]
            for change in file.pending:
                put_any(file.durable, change)
            file.pending = []
        elif op.kind == "R":
            source, target = op.name.split("\0")
            self.names[target] = self.names.pop(source)
            self.changes.append(("R", source, target))
        elif op.kind == "U":
            del self.names[op.name]
            self.changes.append(("-", op.name))
        elif op.kind == "D":
            self.durable, self.changes = dict(self.names), []

    def survivors(self, random, mode):
        """name -> File after the crash."""
        names = dict(self.durable)
        in_order = mode == "prefix" or random.random() < 0.5
        stop = random.randrange(len(self.changes) + 1)
        for i, change in enumerate(self.changes):
            if mode == "none" or mode != "all" and (i >= stop if in_order else random.random() < 0.5):
                continue
            if change[0] == "+":
                names[change[1]] = change[2]
            elif change[1] not in names:
                continue  # what it was about did not survive
            elif change[0] == "R":
                names[change[2]] = names.pop(change[1])
            else:
                del names[change[1]]
        return names

    def content(self, file, random, mode):
        content = bytearray(file.durable)
        stop = random.randrange(len(file.pending) + 1)
        for i, change in enumerate(file.pending):
            off, n, data = change
            if mode == "none" or mode == "prefix" and i > stop:
                continue
            if mode == "all" or mode == "prefix" and i < stop:
                put_any(content, change)
            elif off is None:
                if random.random() < 0.5:
                    put_any(content, change)
            else:
                self.scatter(content, change, random, n if mode == "scatter" else random.randrange(n + 1))
        return content

    @staticmethod
    def scatter(content, change, random, end):
        """Some of the sectors of a write, of those before `end`."""
        off, n, data = change
        at = off
        while at < off + end:
            step = min(SECTOR - at % SECTOR, off + end - at)
            if random.random() < 0.5 or end < n:
                put(content, at, step, data[at - off:at - off + step] if data is not None else None)
            at += step

    def image(self, random, mode, directory):
        for name, file in self.survivors(random, mode).items():
            path = os.path.join(directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(self.content(file, random, mode))


def cuts(ops, random, n):
    """n positions to cut at: half of them anywhere, half right before or behind a sync, where mistakes are."""
    syncs = [i for i, op in enumerate(ops) if op.kind in "SD"]
    return sorted(random.choice(syncs) + random.choice((0, 0, 1, 2)) if syncs and k % 2 else random.randrange(1, len(ops) + 1)
                  for k in range(n))
