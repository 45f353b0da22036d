# SPDX-License-Identifier: Apache-2.0
"""What the broker keeps for MQTT: retained messages, wills, sessions; and who owns a session: take-over, keep-alive."""
import time

from harness import E2E, V31, V311, V5, VERSIONS, main, mqtt_only
from raw import DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, RawMqtt, packet


class Retained(E2E):
    @mqtt_only
    def test_set_replace_clear(self):
        """[MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7]; 3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-8], [MQTT-3.3.1-9], [MQTT-3.3.1-10]"""
        for version in VERSIONS:
            with self.subTest(version=version):
                live, pub = self.mqtt("live", version=version), self.mqtt("pub", version=version)
                live.subscribe("r/#", 1)
                pub.publish("r/a", b"old", 1, retain=True)
                pub.publish("r/a", b"new", 1, retain=True)
                self.assertEqual([(m.payload, m.retain) for m in live.take(2)], [(b"old", False), (b"new", False)])

                late = self.mqtt("late", version=version)
                late.subscribe("r/+", 2)
                got = late.next()
                self.assertEqual((got.topic, got.payload, got.qos, got.retain), ("r/a", b"new", 1, True))

                pub.publish("r/a", b"", 1, retain=True)  # clears, and is delivered as a normal message
                self.assertEqual([(m.payload, m.retain) for m in (live.next(), late.next())], [(b"", False)] * 2)
                later = self.mqtt("later", version=version)
                later.subscribe("r/#", 1)
                pub.publish("r/end", b"", 1)
                self.assertEqual(later.next().topic, "r/end")
                for client in (live, late, later, pub):
                    client.disconnect()

    @mqtt_only
    def test_each_topic_once_through_a_wildcard(self):
        pub = self.mqtt("pub")
        topics = ["m/%d/%s" % (i, name) for i in range(100) for name in ("t", "h")]
        for topic in topics:
            pub.publish(topic, topic.encode(), 1, retain=True, wait=False)
        pub.wait_settled(len(topics))
        sub = self.mqtt("sub")
        sub.subscribe("m/+/t", 1)
        got = sub.take(100)
        self.assertEqual(sorted(m.topic for m in got), sorted(t for t in topics if t.endswith("/t")))
        self.assertTrue(all(m.retain and m.payload == m.topic.encode() for m in got))
        pub.publish("m/end/t", b"", 1)
        self.assertEqual(sub.next().topic, "m/end/t")

    @mqtt_only
    def test_qos0_is_retained_too(self):
        self.mqtt("pub").publish("r0", b"zero", 0, retain=True)
        pub = self.mqtt("pub2")
        pub.publish("r0-done", b"", 1)
        sub = self.mqtt("sub")
        # QoS 0 has no answer to wait for: if it was not stored yet, it comes as a live message.
        sub.subscribe("r0", 1)
        self.assertEqual(sub.next().payload, b"zero")

    @mqtt_only
    def test_retain_handling(self):
        """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]"""
        pub = self.mqtt("pub", version=V5)
        pub.publish("r", b"kept", 1, retain=True)
        sub = self.mqtt("sub", version=V5)
        sub.subscribe("r", 1, retainHandling=1)
        self.assertEqual(sub.next().payload, b"kept")     # 1: the subscription is new
        sub.subscribe("r", 1, retainHandling=1)           # 1: not new any more
        sub.subscribe("r", 1, retainHandling=2)           # 2: never
        pub.publish("r", b"live", 1)
        self.assertEqual(sub.next().payload, b"live")
        sub.subscribe("r", 1, retainHandling=0)           # 0: always
        self.assertEqual(sub.next().payload, b"kept")


class Will(E2E):
    WILL = {"topic": "will/t", "payload": b"gone", "qos": 1, "retain": False}

    @mqtt_only
    def test_lost_connection(self):
        """both: [MQTT-3.1.2-8]"""
        for version in VERSIONS:
            with self.subTest(version=version):
                sub = self.mqtt("sub", version=version)
                sub.subscribe("will/#", 2)
                self.mqtt("lost", version=version, will=self.WILL).drop()
                got = sub.next()
                self.assertEqual((got.topic, got.payload, got.qos, got.retain), ("will/t", b"gone", 1, False))
                sub.disconnect()

    @mqtt_only
    def test_retained_will(self):
        sub = self.mqtt("sub")
        sub.subscribe("will/#", 1)
        self.mqtt("lost", will=dict(self.WILL, retain=True, qos=2)).drop()
        sub.next()
        late = self.mqtt("late")
        late.subscribe("will/#", 1)
        got = late.next()
        self.assertEqual((got.payload, got.retain), (b"gone", True))

    @mqtt_only
    def test_not_after_disconnect(self):
        """both: [MQTT-3.1.2-10], [MQTT-3.14.4-3]"""
        sub, pub = self.mqtt("sub"), self.mqtt("pub")
        sub.subscribe("will/#", 1)
        for level in (4, 5):
            client = self.keep(RawMqtt(self.port, level))
            client.connect("leaves", will=("will/t", b"gone", 1, 0))
            client.disconnect()
        pub.publish("will/end", b"", 1)
        self.assertEqual(sub.next().topic, "will/end")

    @mqtt_only
    def test_disconnect_with_will_message(self):
        """MQTT 5: DISCONNECT with reason 0x04 asks for the will."""
        sub = self.mqtt("sub")
        sub.subscribe("will/#", 1)
        client = self.keep(RawMqtt(self.port, 5))
        client.connect("leaves", will=("will/t", b"gone", 1, 0))
        client.send(packet(DISCONNECT, b"\x04\x00"))
        self.assertEqual(sub.next().payload, b"gone")

    @mqtt_only
    def test_protocol_error_fires_it(self):
        """3.1.1: [MQTT-3.1.2-8] the broker closes because of a malformed packet: the will goes out."""
        sub = self.mqtt("sub")
        sub.subscribe("will/#", 1)
        client = self.keep(RawMqtt(self.port))
        client.connect("confused", will=("will/t", b"gone", 1, 0))
        client.send(b"\x36\x05\x00\x01ab\x01")  # PUBLISH with QoS 3
        self.assertEqual(sub.next().payload, b"gone")
        client.read_eof()


class Session(E2E):
    def persistent(self, name, version=V311, **options):
        return self.mqtt(name, version=version, clean=False, expiry_s=300 if version == V5 else None, **options)

    @mqtt_only
    def test_queued_while_offline(self):
        """[MQTT-3.1.2-5], [MQTT-3.2.2-3]; 3.1.1: [MQTT-3.1.2-4, -5; MQTT-3.2.2-2, -3]. There again, with what came since."""
        for version in VERSIONS:
            with self.subTest(version=version):
                sub = self.persistent("sub-%d" % version, version)
                if version != V31:
                    self.assertFalse(sub.session_present)
                sub.subscribe("q/#", 2)
                sub.disconnect()
                pub = self.mqtt("pub", version=version)
                for i in range(20):
                    pub.publish("q/%d" % i, b"%d" % i, 1 + i % 2)
                sub = self.persistent("sub-%d" % version, version)
                if version != V31:
                    self.assertTrue(sub.session_present)
                got = sub.take(20)
                self.assertEqual([m.payload for m in got if m.qos == 1], [b"%d" % i for i in range(0, 20, 2)])
                self.assertEqual([m.payload for m in got if m.qos == 2], [b"%d" % i for i in range(1, 20, 2)])
                self.assertEqual(len({m.topic for m in got}), 20)
                pub.publish("q/end", b"", 2)
                self.assertEqual(sub.next().topic, "q/end")
                sub.disconnect()
                pub.disconnect()

    @mqtt_only
    def test_lost_connection_keeps_the_session(self):
        sub = self.persistent("sub")
        sub.subscribe("q", 1)
        sub.drop()
        self.mqtt("pub").publish("q", b"x", 1)
        sub = self.persistent("sub")
        self.assertTrue(sub.session_present)
        self.assertEqual(sub.next().payload, b"x")

    @mqtt_only
    def test_clean_start_ends_it(self):
        """[MQTT-3.1.2-4]; 3.1.1: [MQTT-3.1.2-6]. Nothing of an old session is left."""
        for version in (V311, V5):
            with self.subTest(version=version):
                sub = self.persistent("sub", version)
                sub.subscribe("q/#", 1)
                sub.disconnect()
                pub = self.mqtt("pub", version=version)
                pub.publish("q/1", b"lost with the session", 1)
                sub = self.mqtt("sub", version=version, clean=True)
                self.assertFalse(sub.session_present)
                sub.subscribe("end", 1)
                pub.publish("q/2", b"no longer subscribed", 1)
                pub.publish("end", b"", 1)
                self.assertEqual(sub.next().topic, "end")
                sub.disconnect()
                sub = self.persistent("sub", version)
                self.assertFalse(sub.session_present)
                sub.disconnect()
                self.mqtt("sub", version=version).disconnect()  # clean up for the next round
                pub.disconnect()

    @mqtt_only
    def test_expiry_zero_ends_with_the_connection(self):
        """[MQTT-4.1.0-2] MQTT 5 without an expiry interval: the session lasts as long as the connection."""
        sub = self.mqtt("sub", version=V5, clean=False)
        sub.subscribe("q", 1)
        sub.drop()
        sub = self.mqtt("sub", version=V5, clean=False)
        self.assertFalse(sub.session_present)

    @mqtt_only
    def test_unacknowledged_deliveries_come_again(self):
        """both: [MQTT-4.4.0-1], [MQTT-3.3.1-1] the same packet ids with DUP; PUBREL where PUBREC was sent."""
        for level in (4, 5):
            with self.subTest(level=level):
                options = {"clean": False, "expiry_s": 300} if level == 5 else {"clean": False}
                raw = self.keep(RawMqtt(self.port, level))
                raw.connect("resume", **options)
                raw.subscribe("q", 2)
                pub = self.mqtt("pub")
                for payload, qos in ((b"one", 1), (b"two", 2), (b"three", 2)):
                    pub.publish("q", payload, qos)
                first = [raw.read_publish() for _ in range(3)]
                self.assertEqual([(p[1], p[2], p[3]) for p in first], [(b"one", 1, 0), (b"two", 2, 0), (b"three", 2, 0)])
                raw.ack(PUBREC, first[2][4])
                self.assertEqual(raw.read_ack(PUBREL), first[2][4])
                raw.close()

                raw = self.keep(RawMqtt(self.port, level))
                self.assertTrue(raw.connect("resume", **options))
                publishes, releases = [], []
                while len(publishes) + len(releases) < 3:
                    got = raw.read()
                    if got.kind == PUBREL:
                        releases.append(int.from_bytes(got.body[:2], "big"))
                    else:
                        self.assertEqual((got.kind, got.flags >> 3), (PUBLISH, 1), got)
                        rest = got.body[3:]  # the topic is one letter
                        publishes.append((int.from_bytes(rest[:2], "big"), rest[2 + (level == 5):]))
                self.assertEqual(publishes, [(p[4], p[1]) for p in first[:2]])
                self.assertEqual(releases, [first[2][4]])
                raw.ack(PUBACK, first[0][4])
                raw.ack(PUBCOMP, first[2][4])
                raw.ack(PUBREC, first[1][4])
                self.assertEqual(raw.read_ack(PUBREL), first[1][4])
                raw.ack(PUBCOMP, first[1][4])
                raw.ping()
                raw.disconnect()

                raw = self.keep(RawMqtt(self.port, level))
                self.assertTrue(raw.connect("resume", **options))
                pub.publish("q", b"end", 1)
                self.assertEqual(raw.read_publish()[1], b"end")  # nothing old before it
                raw.close()
                raw = self.keep(RawMqtt(self.port, level))
                raw.connect("resume", clean=True)
                raw.disconnect()
                pub.disconnect()

    @mqtt_only
    def test_inbound_qos2_survives_the_connection(self):
        """3.1.1: [MQTT-4.3.3-2] PUBLISH, lost connection, PUBLISH again with DUP: one message."""
        sub = self.mqtt("sub")
        sub.subscribe("q", 2)
        raw = self.keep(RawMqtt(self.port))
        raw.connect("sender", clean=False)
        raw.publish("q", b"once", 2, packet_id=77)
        self.assertEqual(raw.read_ack(PUBREC), 77)
        raw.close()
        raw = self.keep(RawMqtt(self.port))
        self.assertTrue(raw.connect("sender", clean=False))
        raw.publish("q", b"once", 2, packet_id=77, dup=1)
        self.assertEqual(raw.read_ack(PUBREC), 77)
        raw.ack(PUBREL, 77)
        self.assertEqual(raw.read_ack(PUBCOMP), 77)
        raw.publish("q", b"end", 2, packet_id=78)
        raw.read_ack(PUBREC)
        raw.ack(PUBREL, 78)
        raw.read_ack(PUBCOMP)
        self.assertEqual([m.payload for m in sub.take(2)], [b"once", b"end"])


class TakeOver(E2E):
    @mqtt_only
    def test_second_connection_wins(self):
        """[MQTT-3.1.4-3]; 3.1.1: [MQTT-3.1.4-2]. The first one is closed."""
        for version in VERSIONS:
            with self.subTest(version=version):
                first = self.mqtt("same", version=version)
                second = self.mqtt("same", version=version)
                first.wait_end()
                second.subscribe("t", 1)
                self.mqtt("pub").publish("t", b"x", 1)
                self.assertEqual(second.next().payload, b"x")
                second.disconnect()

    def test_reason_in_mqtt5(self):
        """[MQTT-3.1.4-3] DISCONNECT 0x8E to the first, nothing to the second."""
        first, second = self.keep(RawMqtt(self.port, 5)), self.keep(RawMqtt(self.port, 5))
        first.connect("same")
        second.connect("same")
        self.assertEqual(first.read(DISCONNECT).body[:1], b"\x8e")
        first.read_eof()
        second.ping()

    @mqtt_only
    def test_the_session_goes_along(self):
        """Subscriptions and what was not acknowledged move to the new connection."""
        raw = self.keep(RawMqtt(self.port))
        raw.connect("same", clean=False)
        raw.subscribe("t/#", 1)
        pub = self.mqtt("pub")
        pub.publish("t/1", b"one", 1)
        raw.read_publish()  # and never acknowledged
        second = self.mqtt("same", clean=False)
        self.assertTrue(second.session_present)
        raw.read_eof()
        got = second.next()
        self.assertEqual((got.payload, got.dup), (b"one", True))
        pub.publish("t/2", b"two", 1)
        self.assertEqual(second.next().payload, b"two")

    @mqtt_only
    def test_will_of_the_first(self):
        """3.1.1: [MQTT-3.1.2-8] take-over closes the first connection: its will goes out."""
        sub = self.mqtt("sub")
        sub.subscribe("will/t", 1)
        first = self.keep(RawMqtt(self.port))
        first.connect("same", will=("will/t", b"gone", 1, 0))
        self.mqtt("same")
        self.assertEqual(sub.next().payload, b"gone")

    @mqtt_only
    def test_many_times(self):
        """Fifty take-overs in a row leave one connection and one session."""
        for i in range(50):
            raw = self.keep(RawMqtt(self.port))
            raw.connect("same", clean=False)
        raw.subscribe("t", 1)
        self.mqtt("pub").publish("t", b"x", 1)
        self.assertEqual(raw.read_publish()[1], b"x")
        for old in self.clients[:-2]:
            if old is not raw:
                old.read_eof()


class KeepAlive(E2E):
    def test_silence_ends_the_connection(self):
        """3.1.1: [MQTT-3.1.2-24] closed after one and a half keep-alive intervals, and the will goes out."""
        sub = self.mqtt("sub")
        sub.subscribe("will/t", 1)
        client = self.keep(RawMqtt(self.port))
        client.connect("silent", keepalive=1, will=("will/t", b"gone", 1, 0))
        start = time.monotonic()
        client.read_eof(10)
        took = time.monotonic() - start
        self.assertGreater(took, 1.0)
        self.assertLess(took, 4)
        self.assertEqual(sub.next().payload, b"gone")

    def test_reason_in_mqtt5(self):
        """DISCONNECT 0x8D, which is optional (mosquitto just closes)."""
        client = self.keep(RawMqtt(self.port, 5))
        client.connect("silent", keepalive=1)
        got = client.read(DISCONNECT, 10)
        self.assertEqual(got.body[0], 0x8D)
        client.read_eof()

    @mqtt_only
    def test_pings_hold_it(self):
        """paho pings by itself: after five intervals the connection is still the same."""
        client = self.mqtt("alive", keepalive=1)
        client.subscribe("t", 1)
        client.ends.queue.clear()
        watcher = self.keep(RawMqtt(self.port))
        watcher.connect("watcher", keepalive=3)
        start = time.monotonic()
        watcher.read_eof(15)  # the clock of this test: a silent connection that ends after about 4.5 s
        self.assertGreater(time.monotonic() - start, 3)
        self.assertTrue(client.ends.empty(), "the broker closed a connection that pings")
        self.mqtt("pub").publish("t", b"x", 1)
        self.assertEqual(client.next().payload, b"x")

    @mqtt_only
    def test_zero_means_never(self):
        """3.1.1: [MQTT-3.1.2-24] keep-alive 0: no time-out."""
        client = self.keep(RawMqtt(self.port))
        client.connect("patient", keepalive=0)
        other = self.keep(RawMqtt(self.port))
        other.connect("watcher", keepalive=1)
        other.read_eof(10)
        client.ping()


if __name__ == "__main__":
    main()
