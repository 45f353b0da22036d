# SPDX-License-Identifier: Apache-2.0
"""test_errors.py: a disk that lies: failing writes and syncs, and writes that do only a part.

A failed write or sync is the end of durable traffic (fail-stop): it is said once, nothing is acknowledged any more, who
was owed a receipt loses the connection, QoS 0 goes on; a restart has everything that was acknowledged.
"""
import errno
import time
import unittest

import crash
import load
import raw



class Errors(crash.CrashTest):
    def fail_once_under_load(self, ops, after, error=errno.EIO):
        faults = self.inject()
        everything = load.Everything(after)
        world = everything.world
        broker = self.start(*crash.SMALL, faults=faults)
        everything.connect(broker.port, away=True)
        everything.send_off()
        world.run(0.1)
        world.settle()
        self.nothing_wrong(world)
        before = everything.count()
        faults.arm(ops, error, after)
        writers = [a for a in everything.actors.values() if hasattr(a, "waiting") or isinstance(a, load.MqttPublisher)]
        world.may_send = True
        end = time.monotonic() + 20
        while not faults.get("failed_n") and time.monotonic() < end:
            world.step(0.005)
        self.assertEqual(faults.get("failed_n"), 1, "the fault was not met")
        owed = [a for a in writers if a.owes()]
        self.assertTrue(owed, "nobody was owed a receipt")
        world.run(0.2)
        world.settle(10)  # who is owed a receipt is refused, or hung up on
        self.nothing_wrong(world)
        writes, syncs = faults.get("write_n"), faults.get("sync_n")
        self.goes_on(broker)
        self.assertEqual((faults.get("write_n"), faults.get("sync_n")), (writes, syncs), "it has written after the failure")
        self.said_once(broker)
        broker.crash()
        world.read_out()
        broker = self.start(*crash.SMALL)
        everything.verify(broker.port)
        self.nothing_wrong(world)
        self.assertGreaterEqual(everything.count(), before)
        world.hang_up()
        broker.stop()

    def goes_on(self, broker):
        """QoS 0 is served; what needs the disk is not acknowledged."""
        taker, giver = raw.RawMqtt(broker.port), raw.RawMqtt(broker.port)
        taker.connect("taker")
        taker.subscribe("plain", 0)
        giver.connect("giver")
        giver.publish("plain", b"still here")
        self.assertEqual(taker.read_publish()[1], b"still here")
        writer = raw.RawStomp(broker.port)
        writer.connect()
        writer.frame("SEND", ("destination", "/queue/work"), ("persistent", "true"), ("receipt", "never"), body=b"no:0:")
        try:
            answer = writer.read()
            self.assertEqual(answer.command, "ERROR", "acknowledged by a broker that cannot write")
        except EOFError:
            pass
        for client in (taker, giver, writer):
            client.close()

    def said_once(self, broker):
        said = [line for line in broker.lines if "Input/output error" in line or "EIO" in line]
        self.assertEqual(len(said), 1, "\n".join(broker.lines[-20:]))

    def test_failed_write(self):
        self.fail_once_under_load(crash.FAIL_WRITE, 0)

    def test_failed_write_later(self):
        self.fail_once_under_load(crash.FAIL_WRITE, 37)

    def test_failed_sync(self):
        self.fail_once_under_load(crash.FAIL_SYNC, 0)

    def test_failed_sync_later(self):
        self.fail_once_under_load(crash.FAIL_SYNC, 23)

    def test_failed_spare(self):
        """A file that is made in advance cannot be: nothing has happened yet, so it is tried again, and nobody notices."""
        self.goes_on_by_itself(crash.FAIL_ZEROS, errno.EIO)

    def test_failed_create(self):
        self.goes_on_by_itself(crash.FAIL_CREATE, errno.EMFILE)

    def goes_on_by_itself(self, ops, error):
        faults = self.inject()
        everything = load.Everything(ops)
        world = everything.world
        broker = self.start(*crash.SMALL, faults=faults)
        everything.connect(broker.port, away=True)
        everything.send_off()
        world.run(0.05)
        faults.arm(ops, error, 1)
        end = time.monotonic() + 10
        while not faults.get("failed_n") and time.monotonic() < end:
            world.run(0.05)
        self.assertEqual(faults.get("failed_n"), 1, "the fault was not met")
        world.run(0.1)
        world.settle()
        time.sleep(1.2)  # it looks again every second
        world.refusals.clear()
        world.run(0.1)
        everything.verify(broker.port)
        self.nothing_wrong(world)
        self.assertEqual(world.refusals, [])
        broker.crash()
        world.read_out()
        broker = self.start(*crash.SMALL)
        everything.verify(broker.port)
        self.nothing_wrong(world)
        world.hang_up()
        broker.stop()

    def test_short_writes(self):
        """What a write leaves out is written by another."""
        faults = self.inject()
        everything = load.Everything(5)
        world = everything.world
        broker = self.start(*crash.SMALL, faults=faults)
        everything.connect(broker.port, away=True)
        everything.send_off()
        for short in (4096, 1000, 77):
            faults.set("short_bytes", short)
            world.run(0.15)
        faults.set("short_bytes", 0)
        world.settle()
        self.assertGreater(faults.get("short_n"), 30)
        broker.crash()
        world.read_out()
        broker = self.start(*crash.SMALL)
        everything.verify(broker.port)
        self.nothing_wrong(world)
        world.hang_up()
        broker.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
