# SPDX-License-Identifier: Apache-2.0
"""test_files.py: logs that a real broker wrote, cut at every byte of their end, and with flipped bits.

The trials themselves are C (damage.c, in memory, with the sanitizers of the build); here the logs are made. Then the real
binary is started on some damaged directories, and says what it found.
"""
import glob
import os
import random
import re
import subprocess
import unittest

import crash
import load

DAMAGE = os.environ.get("WEIR_DAMAGE") or os.path.join(crash.harness.ROOT, "build", "dev", "tests", "crash_damage")
FLIPS = 100000 if crash.LONG else 10000
CUT_BYTES = 20000 if crash.LONG else 1500


class Files(crash.CrashTest):
    def make_log(self, n, *options, window=10):
        """A data directory that a broker left in order, with some more than n messages in it or gone through it."""
        everything = load.Everything(1, window=window, payload=60)
        broker = self.start(*options)
        everything.connect(broker.port, away=True)
        everything.send_off()
        while everything.count() < n:
            everything.world.run(0.005)
        everything.world.settle()
        everything.world.hang_up()
        broker.stop()
        self.nothing_wrong(everything.world)
        return everything

    def damage(self, *args):
        done = subprocess.run([DAMAGE, os.path.join(self.directory, "data"), *map(str, args)], capture_output=True, text=True)
        crash.say(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_prefix(self):
        self.make_log(300, "persistence_segment_size 262144")
        self.damage("cuts", CUT_BYTES)

    def test_flipped_bits(self):
        self.make_log(700, "persistence_segment_size 65536")
        self.damage("flips", FLIPS, 1)

    def test_flipped_bits_all_written(self):
        self.make_log(300, "persistence_segment_size 65536", "persistence_commit_linger 0", window=3)
        self.damage("flips", FLIPS // 4, 2)

    def test_the_binary_says_so(self):
        """A flip in a segment that is not the last: the broker starts, tells of it, and sets it aside."""
        self.make_log(1500, "persistence_segment_size 65536")
        chance = random.Random(3)
        segments = sorted(glob.glob(os.path.join(self.directory, "data", "wal-*.log")))
        self.assertGreater(len(segments), 1)
        with open(segments[0], "r+b") as file:
            file.seek(chance.randrange(5000, 30000))
            at = file.tell()
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 4]))
        broker = self.start("persistence_segment_size 65536")
        told = [line for line in broker.lines if re.search(r"(?i)damage", line)]
        self.assertTrue(told, broker.output())
        self.assertTrue(glob.glob(os.path.join(self.directory, "data", "damaged-*.bin")), broker.output())
        broker.stop()
        broker = self.start("persistence_segment_size 65536")  # said once
        self.assertEqual([line for line in broker.lines if "set aside" in line], [], broker.output())
        broker.stop()

    def test_newer_version(self):
        """A log of a later version is refused, and not touched."""
        self.make_log(100, "persistence_segment_size 65536")
        data = os.path.join(self.directory, "data")
        for path in glob.glob(os.path.join(data, "wal-*.log")):
            with open(path, "r+b") as file:
                head = bytearray(file.read(64))
                head[8:12] = (2).to_bytes(4, "little")
                head[60:64] = crc32c(bytes(head[:60])).to_bytes(4, "little")
                file.seek(0)
                file.write(head)
        before = {path: open(path, "rb").read() for path in glob.glob(os.path.join(data, "*.log"))}
        broker = crash.DurableBroker(self.directory, wait=False)
        self.assertEqual(broker.wait(), 2, broker.output())
        self.assertRegex(broker.output(), r"(?i)version")
        self.assertEqual(before, {path: open(path, "rb").read() for path in glob.glob(os.path.join(data, "*.log"))})

    def test_second_broker(self):
        first = self.start()
        second = crash.DurableBroker(self.directory, wait=False)
        self.assertEqual(second.wait(), 2, second.output())
        self.assertIn(os.path.join(self.directory, "data"), second.output())
        first.stop()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


if __name__ == "__main__":
    unittest.main(verbosity=2)
