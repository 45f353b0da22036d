# SPDX-License-Identifier: Apache-2.0
"""clients.py: what every MQTT client library must be able to do with this broker, written once.

test_clients_js.py, test_clients_c.py and test_clients_py.py run these for their library; each test goes through all of
KINDS (the library over TCP and over WebSocket) and, where it can, through 3.1.1 and 5. A second client, where there is
one, is the same library over the other transport, so that each test also goes from one transport to the other.
"""
import functools
import hashlib
import random

from drivers import Drivers, Refused
from harness import E2E, V311, V5

PAIRS = [("a", "1"), ("a", "3"), ("b", "2"), ("b", ""), ("ä: ", "ü\\ =%")]  # MQTT.js keeps pairs by name, so equal names stand together


def each(*versions):
    """Runs test(self, kind, the other kind, version) for every combination, each as its own subtest."""
    def wrap(test):
        @functools.wraps(test)
        def run(self):
            for version in versions:
                for i, kind in enumerate(self.KINDS):
                    with self.subTest(kind=kind, version=version):
                        try:
                            test(self, kind, self.KINDS[i - 1], version)
                        finally:
                            self.close_clients()
        return run
    return wrap


class Suite(Drivers):
    """Mixed into E2E by the three files. KINDS: such as ("js", "js ws")."""

    KINDS = ()

    @each(V311, V5)
    def test_every_qos_both_ways(self, kind, other, version):
        one = self.client(kind, "one", version)
        two = self.client(other, "two", version)
        for granted in (0, 1, 2):
            self.assertEqual(one.subscribe("q/%d" % granted, granted), granted)
            for qos in (0, 1, 2):
                body = b"\0%d to %d\xff" % (qos, granted)
                two.publish("q/%d" % granted, body, qos)
                got = one.next()
                self.assertEqual((got.topic, got.payload, got.qos, got.retain, got.dup),
                                 ("q/%d" % granted, body, min(qos, granted), False, False))
        one.disconnect()
        two.disconnect()

    @each(V311, V5)
    def test_wildcards_and_unsubscribe(self, kind, other, version):
        one, two = self.client(kind, "one", version), self.client(other, "two", version)
        one.subscribe("w/+/x", 1)
        one.subscribe("w/end/#", 1)
        two.publish("w/ä ö/x", b"1", 1)
        self.assertEqual(one.next().topic, "w/ä ö/x")
        one.unsubscribe("w/+/x")
        two.publish("w/b/x", b"2", 1)
        two.publish("w/end", b"3", 1)
        self.assertEqual(one.next().payload, b"3")
        one.disconnect()
        two.disconnect()

    @each(V311, V5)
    def test_retained(self, kind, other, version):
        one = self.client(kind, "one", version)
        one.publish("r/t", b"kept", 1, retain=True)
        two = self.client(other, "two", version)
        two.subscribe("r/#", 2)
        got = two.next()
        self.assertEqual((got.topic, got.payload, got.qos, got.retain), ("r/t", b"kept", 1, True))
        one.publish("r/t", b"", 1, retain=True)
        got = two.next()
        self.assertEqual((got.payload, got.retain), (b"", False))
        three = self.client(kind, "three", version)
        three.subscribe("r/#", 1)
        one.publish("r/end", b"", 1)
        self.assertEqual(three.next().topic, "r/end")
        for client in (one, two, three):
            client.disconnect()

    @each(V311, V5)
    def test_will(self, kind, other, version):
        """Not after DISCONNECT [MQTT-3.14.4-3], but when the connection is lost [MQTT-3.1.2-8]."""
        one = self.client(kind, "one", version)
        one.subscribe("will/#", 2)
        will = {"topic": "will/t", "payload": b"gone\0", "qos": 1, "retain": False}
        self.client(other, "leaves", version, will=dict(will, topic="will/never")).disconnect()
        self.client(other, "lost", version, will=will).drop()
        got = one.next()
        self.assertEqual((got.topic, got.payload, got.qos), ("will/t", b"gone\0", 1))
        one.disconnect()

    @each(V311, V5)
    def test_session_resume(self, kind, other, version):
        """What came while it was away comes in order [MQTT-4.6.0-6]; the subscription is still there afterwards."""
        options = {"clean": False, "expiry_s": 300}
        one = self.client(kind, "resume", version, **options)
        self.assertIn(one.session_present, (False, None))
        one.subscribe("s/#", 2)
        one.disconnect()
        two = self.client(other, "two", version)
        for i in range(20):
            two.publish("s/t", b"%d" % i, 1 + i // 10)
        one = self.client(kind, "resume", version, **options)
        self.assertIn(one.session_present, (True, None))
        self.assertEqual([(m.payload, m.qos) for m in one.take(20)], [(b"%d" % i, 1 + i // 10) for i in range(20)])
        two.publish("s/end", b"", 2)
        self.assertEqual(one.next().topic, "s/end")
        one.disconnect()
        one = self.client(kind, "resume", version, clean=True)
        self.assertIn(one.session_present, (False, None))
        one.disconnect()
        two.disconnect()

    @each(V311, V5)
    def test_large_payloads(self, kind, other, version):
        """1 MiB at each QoS, unchanged."""
        body = random.Random(7).randbytes(1 << 20)
        one, two = self.client(kind, "one", version), self.client(other, "two", version)
        one.subscribe("large", 2)
        for qos in (0, 1, 2):
            two.publish("large", body, qos)
            got = one.next()
            self.assertEqual((len(got.payload), got.qos), (len(body), qos))
            self.assertEqual(hashlib.sha256(got.payload).digest(), hashlib.sha256(body).digest())
        one.disconnect()
        two.disconnect()

    @each(V5)
    def test_properties(self, kind, other, version):
        """[MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] in order and unchanged."""
        one, two = self.client(kind, "one", version), self.client(other, "two", version)
        one.subscribe("p", 2)
        two.publish("p", b"{}", 2, PayloadFormatIndicator=1, ContentType="application/json", ResponseTopic="re/ply",
                    CorrelationData=b"\0\1\xff", MessageExpiryInterval=100, UserProperty=PAIRS)
        got = one.next().properties
        self.assertEqual(got.PayloadFormatIndicator, 1)
        self.assertEqual(got.ContentType, "application/json")
        self.assertEqual(got.ResponseTopic, "re/ply")
        self.assertEqual(got.CorrelationData, b"\0\1\xff")
        self.assertIn(int(got.MessageExpiryInterval), range(90, 101))  # [MQTT-3.3.2-6]
        self.assertEqual([tuple(pair) for pair in got.UserProperty], PAIRS)
        one.disconnect()
        two.disconnect()

    @each(V5)
    def test_request_and_response(self, kind, other, version):
        """MQTT 5 §4.10: the responder answers to the Response Topic with the same Correlation Data."""
        asks, answers = self.client(kind, "asks", version), self.client(other, "answers", version)
        asks.subscribe("reply/asks", 1)
        answers.subscribe("square", 1)
        for i in range(10):
            asks.publish("square", b"%d" % i, 1, ResponseTopic="reply/asks", CorrelationData=b"\0%d" % i)
        for _ in range(10):
            request = answers.next()
            answers.publish(request.properties.ResponseTopic, b"%d" % (int(request.payload) ** 2), 1,
                            CorrelationData=request.properties.CorrelationData)
        got = {m.properties.CorrelationData: m.payload for m in asks.take(10)}
        self.assertEqual(got, {b"\0%d" % i: b"%d" % (i * i) for i in range(10)})
        asks.disconnect()
        answers.disconnect()

    @each(V311, V5)
    def test_shared_subscription(self, kind, other, version):
        """MQTT 5 §4.8.2: each message goes to one of the members; 3.1.1 can do it as well (docs/mapping.md)."""
        members = [self.client(kind, "m0", version), self.client(other, "m1", version)]
        whole, pub = self.client(kind, "whole", version), self.client(other, "pub", version)
        for member in members:
            self.assertEqual(member.subscribe("$share/g/work/#", 1), 1)
            member.subscribe("end", 1)
        whole.subscribe("work/#", 1)
        for i in range(40):
            pub.publish("work/%d" % (i % 3), b"%d" % i, 1)
        pub.publish("end", b"end", 1)
        self.assertEqual([int(m.payload) for m in whole.take(40)], list(range(40)))
        shares = []
        for member in members:
            share = []
            while not share or share[-1] != b"end":
                share.append(member.next().payload)
            shares.append([int(body) for body in share[:-1]])
        self.assertTrue(all(shares), "a member got nothing: %r" % shares)
        self.assertEqual(sorted(sum(shares, [])), list(range(40)))
        for client in (*members, whole, pub):
            client.disconnect()

    @each(V5)
    def test_subscription_options(self, kind, other, version):
        """[MQTT-3.8.3-3] No Local; [MQTT-3.3.1-13] Retain As Published; [MQTT-3.3.1-11] Retain Handling 2;
        [MQTT-3.3.4-3] Subscription Identifier."""
        one, two = self.client(kind, "one", version), self.client(other, "two", version)
        two.publish("o/old", b"old", 1, retain=True)
        self.subscribe_with_id(one, "o/#", 300, noLocal=True, retainAsPublished=True, retainHandling=2)
        one.publish("o/own", b"own", 1)
        two.publish("o/new", b"new", 1, retain=True)
        got = one.next()
        self.assertEqual((got.payload, got.retain), (b"new", True))
        self.assertEqual(list(got.properties.SubscriptionIdentifier), [300])
        for topic in ("o/old", "o/new"):
            two.publish(topic, b"", 1, retain=True)
        one.disconnect()
        two.disconnect()

    def subscribe_with_id(self, client, filter, number, **options):
        self.assertEqual(client.subscribe(filter, 1, SubscriptionIdentifier=number, **options), 1)

    @each(V311, V5)
    def test_take_over(self, kind, other, version):
        """[MQTT-3.1.4-3]"""
        first = self.client(kind, "same", version)
        second = self.client(other, "same", version)
        first.wait_end()
        second.subscribe("t", 1)
        second.publish("t", b"x", 1)
        self.assertEqual(second.next().payload, b"x")
        second.disconnect()


class Aliases:
    """Topic aliases of libraries that leave them to their user: TopicAlias is given by hand."""

    @each(V5)
    def test_topic_aliases_by_hand(self, kind, other, version):
        """[MQTT-3.3.2-8] to [MQTT-3.3.2-12]: set, used without the topic, moved to another topic."""
        one, two = self.client(kind, "one", version), self.client(other, "two", version)
        one.subscribe("alias/#", 2)
        for topic, alias, body in (("alias/a", 1, b"1"), ("", 1, b"2"), ("alias/b", 2, b"3"), ("", 1, b"4"),
                                   ("alias/c", 1, b"5"), ("", 1, b"6"), ("", 2, b"7")):
            two.publish(topic, body, 1, TopicAlias=alias)
        self.assertEqual([(m.topic, m.payload) for m in one.take(7)], [
            ("alias/a", b"1"), ("alias/a", b"2"), ("alias/b", b"3"), ("alias/a", b"4"), ("alias/c", b"5"),
            ("alias/c", b"6"), ("alias/b", b"7")])
        one.disconnect()
        two.disconnect()


__all__ = ["Aliases", "E2E", "Refused", "Suite", "each"]
