# SPDX-License-Identifier: Apache-2.0
"""MQTT to MQTT with paho: every QoS and version, wildcards, the $ rule, unsubscribing, MQTT 5 properties."""
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import E2E, V311, V5, VERSIONS, main, mqtt_only
from raw import PUBCOMP, PUBREC, PUBREL, RawMqtt


class Delivery(E2E):
    @mqtt_only
    def test_every_qos_between_every_pair_of_versions(self):
        for sub_version in VERSIONS:
            for pub_version in VERSIONS:
                with self.subTest(subscriber=sub_version, publisher=pub_version):
                    sub = self.mqtt("sub", version=sub_version)
                    pub = self.mqtt("pub", version=pub_version)
                    for granted in (0, 1, 2):
                        # [MQTT-3.8.4-8]; 3.1.1: [MQTT-3.8.4-6]. The granted QoS is the most a message is delivered with
                        self.assertEqual(sub.subscribe("t/%d" % granted, granted), granted)
                        for qos in (0, 1, 2):
                            payload = b"%d to %d" % (qos, granted)
                            pub.publish("t/%d" % granted, payload, qos)
                            got = sub.next()
                            self.assertEqual((got.topic, got.payload, got.qos, got.retain, got.dup),
                                             ("t/%d" % granted, payload, min(qos, granted), False, False))
                    sub.disconnect()
                    pub.disconnect()
                    self.assertTrue(sub.messages.empty())

    @mqtt_only
    def test_wildcards(self):
        """3.1.1: [MQTT-3.3.2-3], [MQTT-4.7.3-4] one level, many levels, empty levels."""
        topics = ["a", "a/b", "a/b/c", "/a", "a/", "/", "a//c", "b", "A/b", "a/+x"[:2] + "plus"]
        expected = {
            "a": ["a"],
            "a/+": ["a/b", "a/", "a/plus"],
            "a/#": ["a", "a/b", "a/b/c", "a/", "a//c", "a/plus"],
            "+": ["a", "b"],
            "+/+": ["a/b", "/a", "a/", "/", "A/b", "a/plus"],
            "a/+/c": ["a/b/c", "a//c"],
            "#": topics,
            "+/b/#": ["a/b", "a/b/c", "A/b"],
            "/+": ["/a", "/"],
        }
        subs = {}
        for i, filter in enumerate(expected):
            subs[filter] = self.mqtt("sub%d" % i)
            subs[filter].subscribe(filter, 1)
            subs[filter].subscribe("$end", 1)
        pub = self.mqtt("pub")
        for topic in topics:
            pub.publish(topic, b"x", 1)
        pub.publish("$end", b"", 1)
        for filter, sub in subs.items():
            got = []
            while not got or got[-1] != "$end":
                got.append(sub.next().topic)
            self.assertEqual(got[:-1], expected[filter], filter)

    @mqtt_only
    def test_first_wildcard_does_not_match_dollar_topics(self):
        """3.1.1: [MQTT-4.7.2-1]"""
        every, plus, own, sys = self.mqtt("every"), self.mqtt("plus"), self.mqtt("own"), self.mqtt("sys")
        every.subscribe("#", 1)
        plus.subscribe("+/a", 1)
        own.subscribe("$mine/#", 1)
        sys.subscribe("$SYS/#", 1)
        forger = self.keep(RawMqtt(self.port))
        forger.connect("forger")
        forger.publish("$SYS/a", b"forged")  # clients never write $SYS
        forger.disconnect()                  # read by the broker, whatever it answered
        pub = self.mqtt("pub")
        pub.publish("$mine/a", b"hidden", 1)
        pub.publish("end/a", b"", 1)
        self.assertEqual(every.next().topic, "end/a")
        self.assertEqual(plus.next().topic, "end/a")
        self.assertEqual(own.next().payload, b"hidden")
        seen = [message.payload for message in list(sys.messages.queue)]
        self.assertNotIn(b"forged", seen)

    @mqtt_only
    def test_dollar_topics_do_not_reach_hash_after_the_fact(self):
        """$SYS of the broker itself does not reach '#' either, not even as retained messages."""
        sub = self.mqtt("sub")
        sub.subscribe("#", 0)
        self.mqtt("pub").publish("end", b"", 1)
        self.assertEqual(sub.next().topic, "end")

    @mqtt_only
    def test_unsubscribe(self):
        """both: [MQTT-3.10.4-1, -5] the filter is compared as it is written; what does not exist is acknowledged too."""
        for version in VERSIONS:
            with self.subTest(version=version):
                sub, pub = self.mqtt("sub", version=version), self.mqtt("pub", version=version)
                sub.subscribe("a/+", 1)
                sub.subscribe("end", 1)
                sub.unsubscribe("a/b")
                sub.unsubscribe("never/was")
                pub.publish("a/b", b"still", 1)
                self.assertEqual(sub.next().payload, b"still")
                sub.unsubscribe("a/+")
                pub.publish("a/b", b"gone", 1)
                pub.publish("end", b"", 1)
                self.assertEqual(sub.next().topic, "end")
                sub.disconnect()
                pub.disconnect()

    @mqtt_only
    def test_subscribing_again_replaces(self):
        """3.1.1: [MQTT-3.8.4-3] the same filter once more changes the QoS and does not deliver twice."""
        sub, pub = self.mqtt("sub"), self.mqtt("pub")
        sub.subscribe("a", 0)
        sub.subscribe("a", 1)
        sub.subscribe("end", 1)
        pub.publish("a", b"once", 1)
        pub.publish("end", b"", 1)
        self.assertEqual([(m.topic, m.qos) for m in sub.take(2)], [("a", 1), ("end", 1)])

    @mqtt_only
    def test_no_local_and_retain_as_published(self):
        """[MQTT-3.8.3-3] [MQTT-3.3.1-13]"""
        client, other = self.mqtt("one", version=V5), self.mqtt("two", version=V5)
        client.subscribe("n/#", 1, noLocal=True)
        client.subscribe("end", 1)
        other.subscribe("n/#", 1, retainAsPublished=True)
        client.publish("n/own", b"mine", 1, retain=True)
        client.publish("end", b"", 1)
        self.assertEqual(client.next().topic, "end")
        got = other.next()
        self.assertEqual((got.payload, got.retain), (b"mine", True))

    @mqtt_only
    def test_properties_arrive_unchanged_and_in_order(self):
        """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]"""
        sub, pub = self.mqtt("sub", version=V5), self.mqtt("pub", version=V5)
        sub.subscribe("p", 2)
        pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("ä: ", "ü\\"), ("b", "")]
        pub.publish("p", b"{}", 1, PayloadFormatIndicator=1, ContentType="application/json", ResponseTopic="re/ply",
                    CorrelationData=b"\0\1\xff", UserProperty=pairs)
        got = sub.next().properties
        self.assertEqual(got.PayloadFormatIndicator, 1)
        self.assertEqual(got.ContentType, "application/json")
        self.assertEqual(got.ResponseTopic, "re/ply")
        self.assertEqual(got.CorrelationData, b"\0\1\xff")
        self.assertEqual(got.UserProperty, pairs)

    @mqtt_only
    def test_subscription_identifiers(self):
        """[MQTT-3.3.4-3] [MQTT-3.3.4-4] the identifiers of all subscriptions that matched."""
        sub = self.mqtt("sub", version=V5)
        for number, filter in ((7, "a/#"), (300, "a/b")):
            made = Properties(PacketTypes.SUBSCRIBE)
            made.SubscriptionIdentifier = number
            sub.client.subscribe(filter, 1, properties=made)
            sub.subacks.get(timeout=20)
        pub = self.mqtt("pub")
        pub.publish("a/b", b"both", 1)
        pub.publish("a/c", b"one", 1)
        numbers = {b"both": [], b"one": []}
        while sum(map(len, numbers.values())) < 3:  # one message with both, or one message for each: both are allowed
            got = sub.next()
            numbers[got.payload] += got.properties.SubscriptionIdentifier
        self.assertEqual(sorted(numbers[b"both"]), [7, 300])
        self.assertEqual(numbers[b"one"], [7])

    @mqtt_only
    def test_qos2_is_one_message_however_often_it_is_sent(self):
        """[MQTT-4.3.3-10, -11, -12]; 3.1.1: [MQTT-4.3.3-2]. A repeated PUBLISH before PUBREL is the same message."""
        for level in (4, 5):
            with self.subTest(level=level):
                sub = self.mqtt("sub")
                sub.subscribe("q2", 2)
                sub.subscribe("end", 2)
                pub = self.keep(RawMqtt(self.port, level))
                pub.connect("raw")
                for dup in (0, 1):
                    pub.publish("q2", b"one", 2, packet_id=9, dup=dup)
                    self.assertEqual(pub.read_ack(PUBREC), 9)
                for _ in range(2):  # a repeated PUBREL is answered as well
                    pub.ack(PUBREL, 9)
                    self.assertEqual(pub.read(PUBCOMP).body[:2], b"\0\x09")
                pub.publish("q2", b"two", 2, packet_id=9)
                pub.read_ack(PUBREC)
                pub.ack(PUBREL, 9)
                pub.read_ack(PUBCOMP)
                pub.publish("end", b"", 2, packet_id=3)
                pub.read_ack(PUBREC)
                pub.ack(PUBREL, 3)
                pub.read_ack(PUBCOMP)
                self.assertEqual([m.payload for m in sub.take(3)], [b"one", b"two", b""])
                pub.disconnect()
                sub.disconnect()

    @mqtt_only
    def test_message_expiry(self):
        """[MQTT-3.3.2-6] what is left of the expiry interval goes along."""
        sub = self.mqtt("sub", version=V5)
        sub.subscribe("x", 1)
        self.mqtt("pub", version=V5).publish("x", b"", 1, MessageExpiryInterval=100)
        self.assertIn(sub.next().properties.MessageExpiryInterval, range(90, 101))

    @mqtt_only
    def test_empty_payload_and_long_topic(self):
        sub, pub = self.mqtt("sub"), self.mqtt("pub")
        sub.subscribe("#", 2)
        long = "/".join(["level"] * 30)
        for qos in (0, 1, 2):
            pub.publish("empty", b"", qos)
            pub.publish(long, b"x", qos)
        got = [(m.topic, m.payload, m.qos) for m in sub.take(6)]
        self.assertEqual(sorted(got), sorted([("empty", b"", q) for q in (0, 1, 2)] + [(long, b"x", q) for q in (0, 1, 2)]))

    @mqtt_only
    def test_client_ids(self):
        """[MQTT-3.1.3-6]; 3.1.1: [MQTT-3.1.3-6]. No client id: one is given; 3.1.1 allows that only with a clean session."""
        for version in (V311, V5):
            anonymous = [self.mqtt("", version=version) for _ in range(3)]
            for client in anonymous:
                client.subscribe("all", 1)
            self.mqtt("pub-%d" % version).publish("all", b"x", 1)
            for client in anonymous:
                self.assertEqual(client.next().payload, b"x")
        refused = self.keep(RawMqtt(self.port))
        refused.send(refused.connect_packet("", clean=False))
        self.assertEqual(refused.read(2).body, b"\0\x02")  # 3.1.1: [MQTT-3.1.3-8]
        refused.read_eof()


if __name__ == "__main__":
    main()
