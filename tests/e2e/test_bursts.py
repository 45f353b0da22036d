# SPDX-License-Identifier: Apache-2.0
"""Bursts of 10,000 messages and payloads of a megabyte: nothing lost, nothing twice, nothing out of order."""
import hashlib
import queue
import random
import threading

from harness import E2E, V311, V5, main, mqtt_only

N = 10000
BURST_S = 120  # for the whole of one burst, on a busy machine with sanitizers


def body(i):
    return b"%d %s" % (i, b"x" * (i % 50))


class Burst(E2E):
    SECONDS = 180

    def check_order(self, bodies, n=N):
        """Says what is wrong in few words instead of a diff of 10,000 lines."""
        numbers = [int(b.split()[0]) for b in bodies]
        for i, (got, expected) in enumerate(zip(numbers, range(n))):
            self.assertEqual(got, expected, "message %d of %d" % (i, n))
        self.assertEqual(len(numbers), n)
        self.assertTrue(all(b == body(i) for i, b in enumerate(bodies)), "a body has changed")

    def mqtt_burst(self, qos, version, in_flight):
        sub = self.mqtt("sub", version=version)
        sub.subscribe("burst/t", qos)
        pub = self.mqtt("pub", version=version, in_flight=in_flight)
        for i in range(N):
            pub.publish("burst/t", body(i), qos, wait=False)
        got = sub.take(N, BURST_S)
        pub.wait_settled(N)
        pub.publish("burst/t", b"end", qos)
        self.assertEqual(sub.next().payload, b"end")
        self.check_order([m.payload for m in got])

    @mqtt_only
    def test_mqtt_qos1(self):
        self.mqtt_burst(1, V311, 200)

    @mqtt_only
    def test_mqtt_qos1_v5(self):
        self.mqtt_burst(1, V5, 1000)

    @mqtt_only
    def test_mqtt_qos2(self):
        self.mqtt_burst(2, V5, 1000)

    @mqtt_only
    def test_mqtt_qos2_v311(self):
        self.mqtt_burst(2, V311, 20)

    @mqtt_only
    def test_mqtt_qos0_where_the_subscriber_keeps_up(self):
        """QoS 0 may be dropped for a slow subscriber; 500 messages are sent at a time, so it is never slow."""
        sub, pub = self.mqtt("sub"), self.mqtt("pub")
        sub.subscribe("burst/t", 0)
        got = []
        for start in range(0, N, 500):
            for i in range(start, start + 500):
                pub.publish("burst/t", body(i), 0, wait=False)
            got += sub.take(500)
        self.check_order([m.payload for m in got])
        self.assertTrue(sub.messages.empty())

    @mqtt_only
    def test_fan_out(self):
        """One publisher, ten subscribers of mixed QoS: everyone gets all 1,000 in order."""
        subs = [self.mqtt("sub%d" % i) for i in range(10)]
        for i, sub in enumerate(subs):
            sub.subscribe("burst/#", 1 + i % 2)
        pub = self.mqtt("pub")
        for i in range(1000):
            pub.publish("burst/%d" % (i % 7), body(i), 2, wait=False)
        for sub in subs:
            self.check_order([m.payload for m in sub.take(1000, BURST_S)], 1000)

    @mqtt_only
    def test_many_publishers(self):
        """Order holds per publisher. 3.1.1: [MQTT-4.6.0-6]"""
        sub = self.mqtt("sub")
        sub.subscribe("burst/#", 1)
        pubs = [self.mqtt("pub%d" % i) for i in range(5)]
        for i in range(1000):
            for number, pub in enumerate(pubs):
                pub.publish("burst/%d" % number, body(i), 1, wait=False)
        bodies = {}
        for message in sub.take(5000, BURST_S):
            bodies.setdefault(message.topic, []).append(message.payload)
        self.assertEqual(len(bodies), 5)
        for got in bodies.values():
            self.check_order(got, 1000)

    def test_mqtt_to_stomp(self):
        sub = self.stomp()
        sub.subscribe("/topic/burst.t")
        pub = self.mqtt("pub", in_flight=200)
        for i in range(N):
            pub.publish("burst/t", body(i), 1, wait=False)
        got = sub.take(N, BURST_S)
        pub.publish("burst/t", b"end", 1)
        self.assertEqual(sub.next().body, b"end")
        self.check_order([frame.body for frame in got])

    def test_stomp_to_mqtt(self):
        sub = self.mqtt("sub")
        sub.subscribe("burst/t", 1)
        pub = self.stomp()
        for i in range(N):
            pub.send("/topic/burst.t", body(i), wait=False)
        pub.send("/topic/burst.t", b"end")
        got = sub.take(N + 1, BURST_S)
        self.assertEqual(got.pop().payload, b"end")
        self.check_order([m.payload for m in got])

    def test_stomp_topic_to_stomp(self):
        sub, pub = self.stomp(), self.stomp()
        sub.subscribe("/topic/burst.#", ack="client-individual")
        for i in range(N):
            pub.send("/topic/burst.t", body(i), wait=False)
        got = []
        for _ in range(N):
            got.append(sub.next(BURST_S))
            sub.ack(got[-1])
        self.check_order([frame.body for frame in got])

    def test_queue_with_competing_consumers(self):
        """Two consumers of one queue: together they get every message exactly once, each in order, and both get some."""
        consumers = [self.stomp() for _ in range(2)]
        got = [[], []]
        problems = queue.Queue()
        received, all_there = threading.Semaphore(0), threading.Event()

        def consume(consumer, numbers):
            try:
                while not all_there.is_set():
                    try:
                        frame = consumer.messages.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    consumer.ack(frame)
                    numbers.append(int(frame.body.split()[0]))
                    received.release()
            except Exception as problem:
                problems.put(problem)

        for consumer in consumers:
            consumer.subscribe("/queue/work", ack="client-individual", **{"prefetch-count": "100"})
        threads = [threading.Thread(target=consume, args=pair) for pair in zip(consumers, got)]
        for thread in threads:
            thread.start()
        try:
            pub = self.stomp()
            for i in range(N):
                pub.send("/queue/work", body(i), wait=False)
            pub.send("/topic/flush", b"")
            for i in range(N):
                self.assertTrue(received.acquire(timeout=BURST_S), "%d of %d have come" % (i, N))
        finally:
            all_there.set()
            for thread in threads:
                thread.join()
        self.assertTrue(problems.empty(), list(problems.queue))
        self.assertEqual(sorted(got[0] + got[1]), list(range(N)))
        for numbers in got:
            self.assertGreater(len(numbers), N // 10, "one consumer got next to nothing")
            self.assertEqual(numbers, sorted(numbers))
        # Nothing is left behind: whoever comes next finds an empty queue.
        for consumer in consumers:
            consumer.disconnect()
        pub.send("/queue/work", b"end")
        last = self.stomp()
        last.subscribe("/queue/work")
        self.assertEqual(last.next().body, b"end")


class Large(E2E):
    BYTES = 1000000

    def setUp(self):
        super().setUp()
        self.payload = random.Random(1).randbytes(self.BYTES)

    def check(self, got):
        self.assertEqual(len(got), self.BYTES)
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(self.payload).digest())

    @mqtt_only
    def test_mqtt(self):
        for version in (V311, V5):
            sub, pub = self.mqtt("sub", version=version), self.mqtt("pub", version=version)
            sub.subscribe("large/#", 2)
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    pub.publish("large/%d" % qos, self.payload, qos)
                    self.check(sub.next().payload)
            sub.disconnect()
            pub.disconnect()

    @mqtt_only
    def test_mqtt_retained_and_queued(self):
        sub = self.mqtt("sub", clean=False)
        sub.subscribe("queued", 1)
        sub.disconnect()
        pub = self.mqtt("pub")
        pub.publish("queued", self.payload, 1, retain=True)
        self.check(self.mqtt("sub", clean=False).next().payload)
        late = self.mqtt("late")
        late.subscribe("queued", 1)
        self.check(late.next().payload)

    @mqtt_only
    def test_to_several_at_once(self):
        subs = [self.mqtt("sub%d" % i) for i in range(5)]
        for sub in subs:
            sub.subscribe("large", 1)
        pub = self.mqtt("pub")
        for _ in range(3):
            pub.publish("large", self.payload, 1, wait=False)
        for sub in subs:
            for _ in range(3):
                self.check(sub.next().payload)

    def test_mqtt_to_stomp_and_back(self):
        web, device = self.stomp(), self.mqtt("device")
        web.subscribe("/topic/up.*")
        device.subscribe("down/+", 2)
        for qos in (0, 1, 2):
            device.publish("up/%d" % qos, self.payload, qos)
            frame = web.next()
            self.check(frame.body)
            self.assertEqual(frame.headers["content-length"], str(self.BYTES))
        web.send("/topic/down.x", self.payload)
        self.check(device.next().payload)

    def test_stomp_queue(self):
        one, two = self.stomp(), self.stomp()
        one.send("/queue/large", self.payload)
        two.subscribe("/queue/large", ack="client")
        frame = two.next()
        self.check(frame.body)
        two.ack(frame)


if __name__ == "__main__":
    main()
