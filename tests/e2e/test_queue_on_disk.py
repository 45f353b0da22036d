#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_queue_on_disk.py: a million messages wait in one queue, in 64 MB of memory; `./dev soak` does it with ten million
of 1 KB. The broker says itself how much memory it has in use ($SYS/broker/heap), to the byte, in every build; of a
binary without sanitizers the whole process is measured, too.
"""
import os
import sys
import unittest

from harness import E2E, ROOT

sys.path.insert(0, os.path.join(ROOT, "bench"))
import soak  # noqa: E402

MB = 1 << 20


def is_sanitized(pid):
    """Sanitizers map terabytes of shadow."""
    return soak.status(pid, "VmSize") > 1 << 30


class QueueOnDisk(E2E):
    ARGS = None
    SECONDS = 180

    def config(self, mb, soft_mb=0):
        path = os.path.join(self.directory, "weir.conf")
        with open(path, "w") as file:
            file.write(soak.config_text(mb, soft_mb) + "sys_interval 1\n")
        return ("-c", path, "--data", os.path.join(self.directory, "data"))

    def heap(self, broker, name):
        """A value of $SYS that is newer than this call."""
        self.port = broker.port
        clock, client = self.mqtt(""), self.mqtt("")
        clock.subscribe("$SYS/broker/uptime")
        clock.next()  # as it was; the next two come with a round
        clock.next()
        clock.next()
        client.subscribe("$SYS/broker/heap/" + name)
        return int(client.next().payload)

    def absent_session(self, broker):
        peer = soak.Peer(broker.port, soak.SESSION, False)
        peer.subscribe(b"soak/#")
        peer.leave()

    def check(self, broker, mb):
        self.assertLess(self.heap(broker, "maximum"), mb * MB)
        if not is_sanitized(broker.child.pid):
            self.assertLess(soak.status(broker.child.pid, "VmHWM"), mb * 1024)

    def test_a_million(self):
        n, size = 1000000, 100
        broker = self.start(*self.config(64, 1))  # all that may leave memory does
        self.absent_session(broker)
        before = self.heap(broker, "current")
        soak.fill(broker.port, n, size)
        each = (self.heap(broker, "current") - before) / n
        print("%.1f bytes of memory per waiting message " % each, end="", flush=True)
        self.assertLess(each, 16)
        self.check(broker, 64)
        soak.drain(broker.port, n, size)
        self.check(broker, 64)

    def test_after_a_restart(self):
        n, size = 200000, 100
        args = self.config(32)
        broker = self.start(*args)
        self.absent_session(broker)
        soak.fill(broker.port, n, size)
        broker.stop()
        broker = self.start(*args)
        self.check(broker, 32)  # while it was read, too
        soak.drain(broker.port, n, size)
        self.check(broker, 32)

    def test_large_ones(self):
        """Pages are small when messages are large."""
        n, size = 2000, 100000
        broker = self.start(*self.config(64))
        self.absent_session(broker)
        soak.fill(broker.port, n, size)
        soak.drain(broker.port, n, size)
        self.check(broker, 64)


if __name__ == "__main__":
    unittest.main(verbosity=2)
