# SPDX-License-Identifier: Apache-2.0
"""Restarts in the middle of things: retries that wait, dead letters, full queues, deliveries of groups in flight, several ends
in a row, and backlogs that are larger than the memory they may have."""
import signal
import struct
import time

from harness import V5, main
from raw import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from test_restart import DURABLE, INDIVIDUAL, Restart


class Middle:
    def test_full_queues(self):
        """Limits count what was there before."""
        web = self.stomp()
        self.manage(web, "declare-queue", queue="last", x_max_length="3", x_dead_letter_exchange="",
                    x_dead_letter_routing_key="pushed")
        self.manage(web, "declare-queue", queue="pushed")
        self.manage(web, "declare-queue", queue="bytes", x_max_length_bytes="1000", x_overflow="reject-publish")
        for i in range(5):
            web.send("/queue/last", b"%d" % i, persistent="true")
        web.send("/queue/bytes", bytes(600), persistent="true")
        self.restart()
        web = self.stomp()
        web.send("/queue/last", b"5", persistent="true")
        web.connection.send("/queue/bytes", bytes(600), headers={"persistent": "true", "receipt": "r"})
        self.assertEqual(web.errors.get(timeout=20).headers["x-code"], "rejected")
        pushed = self.rest("/queue/pushed")
        self.assertEqual([frame.body for frame in pushed], [b"0", b"1", b"2"])
        self.assertEqual({frame.headers["x-first-death-reason"] for frame in pushed}, {"maxlen"})
        worker = self.stomp()
        worker.subscribe("/queue/last", ack="auto")
        self.assertEqual(self.bodies(worker, 3), [b"3", b"4", b"5"])

    def test_retries_and_dead_letters(self):
        """One that waits for its next attempt, with its count; and its history when it dies."""
        worker = self.stomp()
        self.manage(worker, "declare-queue", queue="dead")
        worker.subscribe("/queue/work", ack=INDIVIDUAL, **{
            "x-delivery-limit": "1", "x-retry-delay-min": "500", "x-retry-delay-max": "500", "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead"})
        worker.send("/queue/work", b"bad", persistent="true", color="blue")
        worker.nack(worker.next())
        worker.send("/queue/barrier", b"", persistent="true")
        self.restart()
        worker = self.stomp()
        worker.subscribe("/queue/work", ack=INDIVIDUAL)
        again = worker.next()
        self.assertEqual((again.body, again.headers["x-delivery-count"]), (b"bad", "1"))
        worker.nack(again)
        worker.send("/queue/barrier", b"", persistent="true")
        self.restart()
        frame, = self.rest("/queue/dead")
        self.assertEqual((frame.body, frame.headers["color"], frame.headers["x-first-death-reason"]),
                         (b"bad", "blue", "delivery_limit"))
        self.assertIn("queue=work;reason=delivery_limit;count=1;", frame.headers["x-death"])
        self.assertEqual(self.waits("/queue/work"), [])

    def test_priorities(self):
        web = self.stomp()
        self.manage(web, "declare-queue", queue="p", x_max_priority="9")
        for i in range(30):
            web.send("/queue/p", b"%d" % i, persistent="true", priority=str(i % 3))
        self.restart()
        worker = self.stomp()
        worker.subscribe("/queue/p", ack="auto")
        got = [int(body) for body in self.bodies(worker, 30)]
        self.assertEqual(got, sorted(range(30), key=lambda i: (-(i % 3), i)))

    def test_queue_that_expires(self):
        """x-expires: nobody used it for so long, before and after."""
        web = self.stomp()
        self.manage(web, "declare-queue", queue="brief", x_expires="1500")
        self.manage(web, "declare-queue", queue="long", x_expires="3600000")
        left = time.monotonic()
        self.restart()
        time.sleep(max(0, left + 3.5 - time.monotonic()))  # the point is that time passes
        web = self.stomp()
        self.manage(web, "declare-queue", queue="long", passive="true")
        web.connection.send("/manage/declare-queue", b"", headers={"queue": "brief", "passive": "true"})
        self.assertEqual(web.errors.get(timeout=20).headers["x-code"], "not-found")

    def test_group_in_flight(self):
        """[MQTT-4.8.2-5] What a member was sent at QoS 2 stays with its session; [MQTT-4.4.0-1] with its packet id."""
        one, two = self.raw("one", 5), self.raw("two", 5)
        for member in (one, two):
            member.subscribe("$share/g/work", 2)
        self.say(("work", b"a"), ("work", b"b"), qos=2)
        got = {}
        for name, member in (("one", one), ("two", two)):
            packet = member.read_publish()
            got[name] = packet[1], packet[4]
        self.assertEqual({body for body, _ in got.values()}, {b"a", b"b"})
        two.ack(PUBREC, got["two"][1])
        self.assertEqual(two.read_ack(PUBREL), got["two"][1])
        self.restart()
        two = self.raw("two", 5, present=True)
        self.assertEqual(two.read_ack(PUBREL), got["two"][1])
        two.ack(PUBCOMP, got["two"][1])
        one = self.raw("one", 5, present=True)
        packet = one.read_publish()
        self.assertEqual((packet[1], packet[3], packet[4]), (got["one"][0], 1, got["one"][1]))
        one.ack(PUBREC, packet[4])
        self.assertEqual(one.read_ack(PUBREL), packet[4])
        one.ack(PUBCOMP, packet[4])
        self.say(("work", b"c"), ("work", b"d"), qos=2)
        self.assertEqual({one.read_publish()[1], two.read_publish()[1]}, {b"c", b"d"})

    def test_again_and_again(self):
        """Three lives, and in each some of it is answered: packet ids stay what they were."""
        sub = self.raw("sub", 5)
        sub.subscribe("a", 2)
        self.say(*[("a", b"%d" % i) for i in range(12)], qos=2)
        ids = [sub.read_publish()[4] for _ in range(12)]
        open_ids = list(ids)
        for life in range(3):
            for packet_id in open_ids[:2]:
                sub.ack(PUBREC, packet_id)
                self.assertEqual(sub.read_ack(PUBREL), packet_id)
                sub.ack(PUBCOMP, packet_id)
            released, open_ids = open_ids[2], open_ids[3:]
            sub.ack(PUBREC, released)
            self.assertEqual(sub.read_ack(PUBREL), released)
            self.say(("$queue/barrier", b"%d" % life))
            self.restart()
            sub = self.raw("sub", 5, present=True)
            kinds = {PUBREL: [], PUBLISH: []}
            for _ in range(1 + len(open_ids)):
                packet = sub.read()
                at = 0 if packet.kind == PUBREL else 3
                kinds[packet.kind].append(struct.unpack_from(">H", packet.body, at)[0])
            self.assertEqual(kinds, {PUBREL: [released], PUBLISH: open_ids})
            sub.ack(PUBCOMP, released)
        sub.ping()

    def test_delayed_to_topics(self):
        """A delayed message is routed when its time has come, to who is subscribed then."""
        self.away("sub", ("late", 1))
        device = self.mqtt("device", version=V5)
        device.publish("$delayed/1/late", b"1", 1, UserProperty=[("a", "b")])
        self.restart()
        self.away("new", ("late", 1))
        got = self.back("sub").next()
        self.assertEqual((got.topic, got.payload), ("late", b"1"))
        self.assertEqual(self.back("new").next().payload, b"1")
        self.restart()
        self.say(("late", b"2"))
        for name in ("sub", "new"):
            client = self.back(name)
            bodies = [client.next().payload]
            if bodies == [b"1"]:  # its PUBACK had no answer: it may come again
                bodies.append(client.next().payload)
            self.assertEqual(bodies[-1], b"2")

    def test_a_consumer_that_is_there_all_the_time(self):
        """Live messages while the broker goes away under it: none that was acknowledged is lost, whoever has it."""
        self.away("sub", ("live", 1))
        seen = set()
        sent = 0
        for life in range(3):
            sub = self.back("sub")
            pub = self.mqtt("pub", version=V5, in_flight=50)
            before = pub.done
            for i in range(300):
                pub.publish("live", b"%d.%d" % (life, i), 1, wait=False)
            pub.wait_settled(before + 300)
            sent += 300
            self.restart()
            while not sub.messages.empty():
                seen.add(sub.messages.get().payload)
        self.say(("live", b"end"))
        sub = self.back("sub")
        while b"end" not in seen:
            seen.add(sub.next().payload)
        self.assertEqual(len(seen), sent + 1)


class Backlog:
    """More waits than there is memory for."""

    OPTIONS = ("memory_soft_mark 6M", "memory_high_mark 100M", "memory_hard_mark 200M", "max_queued_bytes 0",
               "max_queued_messages 0", "sys_interval 1")
    SEGMENT = "1M"

    def fill(self, n, size, first=0):
        pub = self.mqtt("pub", in_flight=1000)
        before = pub.done
        for i in range(first, first + n):
            pub.publish("big/%d" % (i % 7), b"%d " % i + bytes(size), 1, wait=False)
        pub.wait_settled(before + n, 60)
        pub.disconnect()

    def test_backlog(self):
        n, size = 15000, 1000
        self.away("sub", ("big/#", 1))
        self.away("other", ("big/3", 1))
        self.fill(n, size)
        self.restart()
        self.fill(100, size, n)
        sub = self.raw("sub", present=True)
        for i in range(n // 2):
            _, payload, _, _, packet_id = sub.read_publish()
            self.assertEqual(int(payload.split()[0]), i)
            sub.ack(PUBACK, packet_id)
        self.say(("$queue/barrier", b""))
        sub.close()
        self.restart()
        sub = self.back("sub")
        rest = [int(m.payload.split()[0]) for m in sub.take(n + 100 - n // 2, 60)]
        if rest[0] < n // 2:  # its last PUBACKs were still in the socket
            rest = [i for i in rest if i >= n // 2] + [int(m.payload.split()[0]) for m in sub.take(n // 2 - rest[0])]
        self.assertEqual(rest, list(range(n // 2, n + 100)))
        other = self.back("other")
        wanted = [i for i in range(n + 100) if i % 7 == 3]
        self.assertEqual([int(m.payload.split()[0]) for m in other.take(len(wanted), 60)], wanted)

    def test_named_queue(self):
        """Work from both ends: some is taken, some comes, and it is never out of order."""
        n, size = 6000, 1000
        web = self.stomp()
        for i in range(n):
            web.send("/queue/jobs", b"%d " % i + bytes(size), wait=i % 500 == 499, persistent="true")
        self.restart()
        worker = self.stomp()
        worker.subscribe("/queue/jobs", ack="client", **{"prefetch-count": "200"})
        last = None
        for i in range(n):
            frame = worker.next()
            self.assertEqual(int(frame.body.split()[0]), i)
            last = frame
            if i % 100 == 99:
                worker.ack(last)
        worker.send("/queue/barrier", b"", persistent="true")
        self.restart()
        self.assertEqual(self.waits("/queue/jobs"), [])


class MiddleAfterStop(Middle, Restart):
    HOW = signal.SIGTERM


class MiddleAfterKill(Middle, Restart):
    HOW = signal.SIGKILL


class BacklogAfterStop(Backlog, Restart):
    HOW = signal.SIGTERM


class BacklogAfterKill(Backlog, Restart):
    HOW = signal.SIGKILL


if __name__ == "__main__":
    main()
