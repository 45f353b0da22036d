# SPDX-License-Identifier: Apache-2.0
"""100,000 retained topics under one wildcard subscription: all of them arrive, whatever the queue limits, in bounded memory,
while live traffic on the same session goes on."""
import re
import struct
import time

from harness import E2E, is_sanitized, main
from raw import PUBACK, PUBLISH, SUBACK, SUBSCRIBE, RawMqtt, packet, text

N = 100000
QUEUE_BYTES = 65536


def anonymous_kb(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"RssAnon:\s*(\d+)", file.read()).group(1))


class Many(E2E):
    ARGS = None
    SECONDS = 150

    def setUp(self):
        super().setUp()
        self.broker = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nmax_queued_messages 100\n"
                                                               "max_queued_bytes %d\nsys_interval 1\n" % QUEUE_BYTES))
        self.port = self.broker.port

    def heap_bytes(self, name):
        """What the broker has allocated, as it says itself. Only what changed is published, so that it is the newest value
        when the uptime has come twice after the retained one."""
        client = self.keep(RawMqtt(self.port))
        client.connect(name)
        filters = b"".join(text("$SYS/broker/" + topic) + b"\0" for topic in ("heap/current", "uptime"))
        client.send(packet(SUBSCRIBE, b"\0\1" + filters, 2))
        client.read(SUBACK)
        values = {"heap/current": [], "uptime": []}
        while len(values["uptime"]) < 3:
            topic, payload, _, _, _ = client.read_publish()
            values[topic[len("$SYS/broker/"):]].append(payload)
        client.disconnect()
        return int(values["heap/current"][-1])

    def fill(self):
        """N retained topics, sent in blocks; a ping behind each says that it was read."""
        pub = self.keep(RawMqtt(self.port))
        pub.connect("fills")
        for start in range(0, N, 5000):
            pub.send(b"".join(packet(PUBLISH, text("many/%d/%d" % (i % 100, i)) + b"%d" % i, 1)
                              for i in range(start, start + 5000)))
            pub.ping()
        return pub

    def collect(self, sub, live, qos):
        """Reads until all retained messages are there; meanwhile live messages go on. {topic: payload}, the live numbers."""
        retained, lives, sent, acks = {}, [], 0, b""
        end = time.monotonic() + 100
        while len(retained) < N:
            self.assertLess(time.monotonic(), end, "%d of %d retained messages" % (len(retained), N))
            got = sub.read()
            self.assertEqual(got.kind, PUBLISH)
            n = struct.unpack(">H", got.body[:2])[0]
            topic, rest = got.body[2:2 + n], got.body[2 + n:]
            if got.flags >> 1 & 3:
                acks, rest = acks + packet(PUBACK, rest[:2]), rest[2:]
            if len(acks) >= 4 * 20 or not sub.buffer:
                sub.send(acks)
                acks = b""
            if got.flags & 1:
                self.assertNotIn(topic, retained, "twice")
                retained[topic] = rest
                if len(retained) % 1000 == 0:
                    live.publish("many/live", b"%d" % sent, qos, packet_id=sent % 65535 + 1)
                    sent += 1
            else:
                self.assertEqual(topic, b"many/live")
                lives.append(int(rest))
        return retained, lives, sent

    def all_arrive(self, qos):
        live = self.fill()
        before, heap_before = anonymous_kb(self.broker.child.pid), self.heap_bytes("before")
        sub = self.keep(RawMqtt(self.port))
        sub.connect("sub")
        sub.send(packet(SUBSCRIBE, b"\0\1" + text("many/#") + bytes([qos]), 2))
        sub.read(SUBACK)
        retained, lives, sent = self.collect(sub, live, qos)
        self.assertEqual(retained, {b"many/%d/%d" % (i % 100, i): b"%d" % i for i in range(N)})
        live.publish("many/live", b"%d" % sent, qos, packet_id=sent + 1)
        while not lives or lives[-1] != sent:
            lives.append(int(sub.read_publish()[1]))
        if qos:  # nothing was dropped: it is read as fast as it comes
            self.assertEqual(lives, list(range(sent + 1)))
        self.assertEqual(lives, sorted(set(lives)))
        grown, heap_grown = anonymous_kb(self.broker.child.pid) - before, self.heap_bytes("after") - heap_before
        print("for %d retained messages at QoS %d: %d KB more resident, %d bytes more allocated" % (N, qos, grown, heap_grown))
        # A list of them all would be some MB; the cursor feeds a queue of at most 64 KiB and an output of at most 1 MiB.
        self.assertLess(heap_grown, 4 << 20)
        if not is_sanitized(self.broker.child.pid):  # they hold freed memory back
            self.assertLess(grown, 8 << 10)

    def test_qos0(self):
        self.all_arrive(0)

    def test_qos1(self):
        self.all_arrive(1)

    def test_who_does_not_read(self):
        """A subscriber that does not read holds up nobody; when it reads again, all of it comes."""
        self.fill()
        stuck = self.keep(RawMqtt(self.port))
        stuck.connect("stuck")
        stuck.send(packet(SUBSCRIBE, b"\0\1" + text("many/#") + b"\0", 2))
        for i in range(20):
            other = self.keep(RawMqtt(self.port))
            other.connect("other%d" % i)
            other.subscribe("many/7/%d" % (i * 100 + 7), 0)
            self.assertEqual(other.read_publish()[1], b"%d" % (i * 100 + 7))
            other.disconnect()
        stuck.read(SUBACK)
        seen = set()
        while len(seen) < N:
            seen.add(stuck.read_publish()[0])

if __name__ == "__main__":
    main()
