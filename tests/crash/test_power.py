# SPDX-License-Identifier: Apache-2.0
"""test_power.py: the power goes at any moment of a recorded run.

A broker under load is recorded: every write, sync and name (fault.c), and between them what each peer was told, as it
noted it (load.py). Then, for many moments of the record, a disk is made on which a random part of what was not synced is
missing, torn or out of order (recording.py); a broker is started on it, and every peer comes back as it was at that
moment. All that had been acknowledged until then must arrive, QoS 2 not twice, transactions whole, sessions present.
200 images; with CRASH_LONG=1 (./dev crash) 2,000.
"""
import json
import os
import random
import shutil
import unittest

import crash
import load
import recording

IMAGES = 2000 if crash.LONG else 200
TINY = ("persistence_segment_size 65536",)


def everything(seed=0, record=None):
    return load.Everything(seed, record, window=12, payload=150)


class Power(crash.CrashTest):
    patience_s = 10

    def record(self, seed, seconds, *options):
        """The operations of a run; the broker is killed at the end of it."""
        shutil.rmtree(os.path.join(self.directory, "data"), ignore_errors=True)
        if os.path.exists(os.path.join(self.directory, "record")):
            os.remove(os.path.join(self.directory, "record"))
        faults = self.inject(record=True)
        faults.set("sync_delay_us", 2000)  # of a slow disk: more is under way at any moment
        peers = everything(seed, faults)
        broker = self.start(*options, faults=faults)
        peers.connect(broker.port, away=True)
        peers.send_off()
        for i in range(4):
            peers.world.run(seconds / 4)
            peers.connect(broker.port, away=i % 2 == 0)  # they come and go
            if i % 2:
                peers.send_off()
        broker.crash()
        peers.world.read_out()
        self.nothing_wrong(peers.world)
        ops = recording.read(faults.record)
        crash.say("%d operations, %d syncs, %d bytes, %d acknowledged" % (
            len(ops), sum(op.kind in "SD" for op in ops), sum(op.n for op in ops if op.kind == "W"), peers.count()))
        self.assertGreater(peers.count(), 200, "that was no load")
        return ops

    def open_image(self, disk, notes, chance, mode, what, options):
        data = os.path.join(self.directory, "data")
        shutil.rmtree(data, ignore_errors=True)
        os.makedirs(data, mode=0o700)
        disk.image(chance, mode, data)
        peers = everything()
        for name, note in notes:
            peers.actors[name].apply(note)
        peers.world.wrong.clear()  # of the run itself: it was looked at then
        acked = peers.count()
        broker = self.start(*options)
        peers.verify(broker.port, self.patience_s)
        self.nothing_wrong(peers.world, what)
        peers.world.hang_up()
        broker.crash()
        self.brokers.remove(broker)
        return acked

    def play(self, ops, seed, n, options):
        chance = random.Random(seed)
        disk, notes, at, most = recording.Disk(), [], 0, 0
        for i, cut in enumerate(recording.cuts(ops, chance, n)):
            for op in ops[at:cut]:
                if op.kind == "M":
                    notes += [(name, note) for name, note in json.loads(op.data)]
                else:
                    disk.apply(op)
            at = cut
            mode = recording.MODES[i % len(recording.MODES)]
            what = "image %d of seed %d: cut at operation %d of %d, mode %s" % (i, seed, cut, len(ops), mode)
            most = max(most, self.open_image(disk, notes, chance, mode, what, options))
        crash.say("%d images, up to %d acknowledged, 0 lost" % (n, most))

    def test_power_cut(self):
        ops = self.record(1, 0.8, *TINY)
        self.play(ops, 1, IMAGES * 3 // 4, TINY)

    def test_power_cut_written_at_once(self):
        """No linger: every message is written, also those whose consumers are there."""
        options = TINY + ("persistence_commit_linger 0",)
        ops = self.record(2, 0.4, *options)
        self.play(ops, 2, IMAGES - IMAGES * 3 // 4, options)

    def test_these_eyes_see(self):
        """With persistence interval a power cut takes what was acknowledged: that must be found out."""
        options = TINY + ("persistence interval 60000",)
        self.patience_s = 1
        with self.assertRaisesRegex(AssertionError, "image [0-9]+ of seed 3"):
            self.play(self.record(3, 0.3, *options), 3, 20, options)


class Model(unittest.TestCase):
    """That the model of the disk does lose what was not synced, and nothing else."""

    def disk(self):
        disk = recording.Disk()
        op = recording.Op
        for each in (op("C", "a", 1, 0, 0, b""), op("W", "", 1, 0, 2048, b"x" * 2048), op("S", "", 1, 0, 0, b""),
                     op("D", "", 0, 0, 0, b""), op("W", "", 1, 1000, 1000, b"y" * 1000), op("C", "b", 2, 0, 0, b""),
                     op("W", "", 2, 0, 3, b"abc"), op("S", "", 2, 0, 0, b""), op("R", "a\0c", 0, 0, 0, b"")):
            disk.apply(each)
        return disk

    def test_what_may_be_lost(self):
        disk, chance, found = self.disk(), random.Random(1), set()
        for i in range(2000):
            names = disk.survivors(chance, recording.MODES[i % 4])
            self.assertEqual(("a" in names) + ("c" in names), 1)
            content = bytes(disk.content(names.get("a") or names["c"], chance, recording.MODES[i % 4]))
            self.assertEqual(content[:1000], b"x" * 1000)
            self.assertEqual(content[2000:], b"x" * 48)
            found.add((tuple(sorted(names)), content[1000:1024].count(b"y"), content[1024:1536].count(b"y"),
                       content[1536:2000].count(b"y")))
        self.assertIn((("a",), 0, 0, 0), found)
        self.assertIn((("b", "c"), 24, 512, 464), found)
        self.assertIn((("a", "b"), 0, 512, 0), found)
        self.assertIn((("b", "c"), 24, 0, 464), found)
        self.assertTrue(any(0 < first < 24 or 0 < second < 512 or 0 < third < 464 for _, first, second, third in found))


if __name__ == "__main__":
    unittest.main(verbosity=2)
