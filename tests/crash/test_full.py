# SPDX-License-Identifier: Apache-2.0
"""test_full.py: no space left. Publishes are refused, consumers go on, acceptance resumes by itself.

    full_disk     a tmpfs of a few MB, mounted for the test: needs root and permission to mount, else it is skipped
    no_new_files  the same with the preload (fault.c): whatever makes a file longer fails with ENOSPC
    size_limit    persistence_max_size instead of a full disk
"""
import errno
import os
import subprocess
import time
import unittest

import crash
import load
import raw

SEGMENT = 65536
OPTIONS = ("persistence_segment_size %d" % SEGMENT,)
QUOTA_EXCEEDED = 0x97  # MQTT 5 §2.4


class Full(crash.CrashTest):
    def fill(self, world, publisher, seconds=30):
        """Publishes until it is refused."""
        world.may_send = True
        end = time.monotonic() + seconds
        while not publisher.refused and time.monotonic() < end:
            world.step(0.005)
        world.may_send = False
        self.assertTrue(publisher.refused, "never refused; %d were taken" % len(publisher.acked))
        world.settle()
        self.assertEqual({code for _, code in world.refusals}, {QUOTA_EXCEEDED})

    def stomp_is_refused(self, port):
        client = raw.RawStomp(port)
        client.connect()
        client.frame("SEND", ("destination", "/queue/stomp"), ("persistent", "true"), ("receipt", "1"), body=b"x" * 2000)
        answer = client.read()
        self.assertEqual(answer.command, "ERROR", "a persistent SEND was accepted by a full broker")
        self.assertIsNotNone(answer["x-code"])
        client.close()

    def plain_goes_on(self, port):
        taker, giver = raw.RawMqtt(port), raw.RawMqtt(port)
        taker.connect("plain-taker")
        taker.subscribe("plain", 0)
        giver.connect("plain-giver")
        giver.publish("plain", b"still here")
        self.assertEqual(taker.read_publish()[1], b"still here")
        taker.close()
        giver.close()

    def resumes(self, world, publisher, seconds=30):
        """Somebody publishes one message at a time until one is accepted."""
        world.may_send, publisher.window = True, 1
        before, end = len(publisher.acked), time.monotonic() + seconds
        while len(publisher.acked) == before and time.monotonic() < end:
            world.step(0.01)
        world.may_send = False
        world.settle()
        self.assertGreater(len(publisher.acked), before, "still refused %g s after there was room" % seconds)

    def full(self, make_room, *options, faults=None, when_ready=None):
        """make_room() or, without, the consumer's own draining gives room again."""
        world = load.World()
        away = world.add(load.MqttConsumer, "away", ["fill"], 1)
        broker = self.start(*OPTIONS, *options, faults=faults)
        world.connect(broker.port)
        away.hang_up()
        publisher = world.add(load.MqttPublisher, "fill", "fill", 1, 20, 5, payload=2000)
        publisher.dial(broker.port)
        if when_ready:
            when_ready()
        self.fill(world, publisher)
        taken = len(publisher.acked)
        self.stomp_is_refused(broker.port)
        self.plain_goes_on(broker.port)
        flow = load.Flow(publisher, away)
        if make_room:
            make_room()
        else:
            away.dial(broker.port)
            world.until("all that was taken", lambda: not flow.missing())
        self.resumes(world, publisher)
        if away.socket is not None:
            away.hang_up()
        broker.crash()
        world.read_out()
        broker = self.start(*OPTIONS, *options, faults=faults)
        world.connect(broker.port)
        world.settle()
        world.until("all that was taken", lambda: not flow.missing())
        flow.judge(world)
        self.nothing_wrong(world)
        world.hang_up()
        broker.stop()
        crash.say("%d taken, %d refused, 0 lost" % (taken, len(publisher.refused)))

    def test_full_disk(self):
        data = os.path.join(self.directory, "data")
        os.makedirs(data)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "weir-crash", data], capture_output=True, text=True)
        if done.returncode:
            self.skipTest("no tmpfs may be mounted here (%s); the other tests of this file stand in for it" % done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", data])
        self.full(None)

    def test_full_disk_others_leave(self):
        """Somebody else had the space, and gives it back."""
        data = os.path.join(self.directory, "data")
        os.makedirs(data)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "weir-crash", data], capture_output=True, text=True)
        if done.returncode:
            self.skipTest("no tmpfs may be mounted here (%s); the other tests of this file stand in for it" % done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", data])
        other = os.path.join(data, "other", "file")
        os.makedirs(os.path.dirname(other))
        with open(other, "wb") as file:
            file.write(b"x" * (2 << 20))
        self.full(lambda: os.remove(other))

    def test_no_new_files(self):
        faults = self.inject()
        self.full(faults.disarm, faults=faults, when_ready=lambda: faults.arm(
            crash.FAIL_GROW | crash.FAIL_CREATE, errno.ENOSPC, for_good=True))

    def test_size_limit(self):
        self.full(None, "persistence_max_size %d" % (16 * SEGMENT))


if __name__ == "__main__":
    unittest.main(verbosity=2)
