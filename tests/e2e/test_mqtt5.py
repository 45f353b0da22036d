# SPDX-License-Identifier: Apache-2.0
"""What is special to MQTT 5, and QoS 2 over lost connections: paho-python over TCP and WebSocket, and by hand (RawMqtt)
where paho cannot be made to do it."""
import struct
import time

from paho.mqtt.packettypes import PacketTypes

from drivers import Drivers
from harness import E2E, V5, main, properties, wait_for
from raw import CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, RawMqtt, packet, text
from ws import WsMqtt

TRANSPORTS = ("tcp", "websockets")


def u16(identifier, value):
    return bytes([identifier]) + struct.pack(">H", value)


def u32(identifier, value):
    return bytes([identifier]) + struct.pack(">I", value)


RECEIVE_MAX, PACKET_MAX, ALIAS_MAX, ALIAS, WILL_DELAY = 0x21, 0x27, 0x22, 0x23, 0x18


class ByHand(E2E):
    def raw(self, client_id, level=5, ws=False, **options):
        client = self.keep((WsMqtt if ws else RawMqtt)(self.port, level))
        client.present = client.connect(client_id, **options)
        return client


class Qos2OverReconnects(ByHand):
    def deliver(self, level, ws, options):
        """The receiver is cut off after every step of every message; each message comes once."""
        name, got, open_ids = "cut-%d-%d" % (level, ws), {}, {}
        sub = self.raw(name, level, ws, **options)
        sub.subscribe("q2", 2)
        pub = self.mqtt("pub")
        for i in range(6):
            pub.publish("q2", b"%d" % i, 2)
        cuts = 0
        while len(got) < 6 or open_ids:
            packet_ = sub.read()
            self.assertIn(packet_.kind, (PUBLISH, PUBREL))
            if packet_.kind == PUBLISH:
                at = 2 + len("q2")
                packet_id = struct.unpack(">H", packet_.body[at:at + 2])[0]
                payload = packet_.body[at + 2 + (level == 5):]
                if packet_id in open_ids:  # the same one again, marked as such
                    self.assertEqual((open_ids[packet_id], packet_.flags & 8), (payload, 8))
                else:
                    self.assertNotIn(payload, got, "delivered twice")
                    open_ids[packet_id] = got[payload] = payload
                answer = PUBREC
            else:
                packet_id = struct.unpack(">H", packet_.body[:2])[0]
                open_ids.pop(packet_id, None)
                answer = PUBCOMP
            if cuts < 40 and (cuts % 3 or len(got) == 6):
                sub.ack(answer, packet_id)
            if cuts >= 40:
                sub.ack(answer, packet_id)
                continue
            cuts += 1
            sub.close()
            sub = self.raw(name, level, ws, **options)
            self.assertTrue(sub.present)
        self.assertEqual(sorted(got), [b"%d" % i for i in range(6)])
        sub.disconnect()

    def test_receiver_that_is_cut_off(self):
        """[MQTT-4.4.0-1] [MQTT-4.3.3-2]"""
        for level in (4, 5):
            for ws in (False, True):
                with self.subTest(level=level, ws=ws):
                    self.deliver(level, ws, {"clean": False, "expiry_s": 300} if level == 5 else {"clean": False})

    def test_sender_that_is_cut_off(self):
        """[MQTT-4.3.3-10] the sender is cut off after every packet and repeats it: each message is routed once."""
        sub = self.mqtt("sub")
        sub.subscribe("in", 2)
        for level in (4, 5):
            for ws in (False, True):
                name = "sends-%d-%d" % (level, ws)
                options = {"clean": False, "expiry_s": 300} if level == 5 else {"clean": False}
                for i in range(5):
                    for kind in (PUBREC, PUBCOMP):
                        for again in range(3):
                            client = self.raw(name, level, ws, **options)
                            if kind == PUBREC:
                                client.publish("in", b"%s %d" % (name.encode(), i), 2, packet_id=i + 1, dup=again > 0)
                            else:
                                client.ack(PUBREL, i + 1)
                            if again:
                                self.assertEqual(client.read(kind).body[:2], struct.pack(">H", i + 1))
                            client.close()
                self.assertEqual([m.payload for m in sub.take(5)], [b"%s %d" % (name.encode(), i) for i in range(5)])


class FlowControl(ByHand):
    def test_receive_maximum_of_the_receiver(self):
        """[MQTT-3.3.4-9] no more than Receive Maximum QoS 1 and 2 messages at a time."""
        for ws in (False, True):
            for qos in (1, 2):
                sub = self.raw("rm", 5, ws, props=u16(RECEIVE_MAX, 3))
                sub.subscribe("rm", qos)
                pub = self.mqtt("pub")
                for i in range(10):
                    pub.publish("rm", b"%d" % i, qos)
                for i in range(10):
                    if i % 3 == 0:
                        window = [sub.read_publish() for _ in range(min(3, 10 - i))]
                        self.assertEqual([p[1] for p in window], [b"%d" % n for n in range(i, i + len(window))])
                        sub.ping()  # nothing else comes
                    if i % 3 == 2 or i == 9:
                        for _, _, _, _, packet_id in window:
                            sub.ack(PUBACK if qos == 1 else PUBREC, packet_id)
                        if qos == 2:  # [MQTT-3.3.4-9] PUBREC does not free a place, PUBCOMP does
                            for _, _, _, _, packet_id in window:
                                self.assertEqual(sub.read_ack(PUBREL), packet_id)
                            sub.ping()
                            for _, _, _, _, packet_id in window:
                                sub.ack(PUBCOMP, packet_id)
                sub.disconnect()

    def test_receive_maximum_of_the_broker(self):
        """[MQTT-3.3.4-7] a sender with more QoS 2 messages open than we allow: DISCONNECT 0x93."""
        client = self.keep(RawMqtt(self.port, 5))
        client.send(client.connect_packet("floods"))
        props = client.read(CONNACK).body[3:]
        limit = 65535
        if bytes([RECEIVE_MAX]) in props:
            at = props.index(bytes([RECEIVE_MAX]))
            limit = struct.unpack(">H", props[at + 1:at + 3])[0]
        self.assertLess(limit, 65535)
        for i in range(limit):
            client.publish("x", b"", 2, packet_id=i + 1)
        for i in range(limit):
            self.assertEqual(client.read(PUBREC).body[:2], struct.pack(">H", i + 1))
        client.publish("x", b"", 2, packet_id=limit + 1)
        self.assertEqual(client.read(DISCONNECT).body[:1], b"\x93")
        client.read_eof()

    def test_packet_too_large_for_the_receiver(self):
        """[MQTT-3.1.2-24] [MQTT-3.1.2-25] it is as if it had been delivered; the others still come."""
        for ws in (False, True):
            sub = self.raw("small", 5, ws, props=u32(PACKET_MAX, 100))
            big = self.mqtt("big", version=V5)
            for client in (sub, big):
                client.subscribe("size", 1)
            pub = self.mqtt("pub", version=V5)
            sizes = (10, 90, 91, 92, 100, 5000, 20)
            for n in sizes:
                pub.publish("size", b"x" * n, 1)
            got = []
            while not got or got[-1] != 20:
                _, payload, _, _, packet_id = sub.read_publish()
                got.append(len(payload))
                sub.ack(PUBACK, packet_id)
            # head 2, topic 2 + 4, packet id 2, properties 1: 89 bytes of payload make a packet of 100
            self.assertEqual(got, [n for n in sizes if n + 2 + 6 + 2 + 1 <= 100])
            self.assertEqual([len(m.payload) for m in big.take(len(sizes))], list(sizes))
            sub.disconnect()
            big.disconnect()

    def test_packet_too_large_for_the_broker(self):
        """[MQTT-3.2.2-15] told in the CONNACK; DISCONNECT 0x95 for who sends it all the same."""
        self.port = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nmax_packet_size 2000\n")).port
        for transport in TRANSPORTS:
            self.assertEqual(self.mqtt("told", version=V5, transport=transport).granted_properties.MaximumPacketSize, 2000)
        for ws in (False, True):
            client = self.raw("sends", 5, ws)
            client.publish("x", b"x" * 1980, 1, packet_id=1)
            client.read_ack(PUBACK)
            client.publish("x", b"x" * 3000, 1, packet_id=2)
            self.assertEqual(client.read(DISCONNECT).body[:1], b"\x95")
            client.read_eof()


class Aliases(ByHand):
    def test_from_the_broker(self):
        """[MQTT-3.1.2-26] [MQTT-3.1.2-27] never above the Topic Alias Maximum of the receiver, none without one."""
        for maximum in (0, 1, 3):
            sub = self.raw("aliases", 5, props=u16(ALIAS_MAX, maximum) if maximum else b"")
            sub.subscribe("al/#", 0)
            pub = self.mqtt("pub")
            known, used = {}, 0
            topics = ["al/a long topic name that is worth an alias/%d" % (i % 5) for i in range(40)]
            for i, topic in enumerate(topics):
                pub.publish(topic, b"%d" % i, 1)
            for i, expected in enumerate(topics):
                topic, payload, _, _, _ = sub.read_publish()
                self.assertEqual(payload, b"%d" % i)
                if sub.props[:1] == bytes([ALIAS]):
                    alias = struct.unpack(">H", sub.props[1:3])[0]
                    self.assertIn(alias, range(1, maximum + 1))
                    used += 1
                    if topic:
                        known[alias] = topic
                    topic = known[alias]
                self.assertEqual(topic, expected)
            self.assertEqual(used > 0, maximum > 0, "%d of 40 with an alias, %d are allowed" % (used, maximum))
            sub.disconnect()
            pub.disconnect()

    def test_breaches(self):
        """[MQTT-3.3.2-8] [MQTT-3.3.2-9] 0, above our maximum, an alias that was never set; all of it is forgotten with the
        connection [MQTT-3.3.2-7]."""
        for topic, alias, reasons in (("t", 0, (0x94,)), ("t", 65535, (0x94,)), ("", 1, (0x82, 0x94))):
            client = self.raw("breaks", clean=False, expiry_s=100)
            client.publish(topic, b"", 0, props=u16(ALIAS, alias))
            self.assertIn(client.read(DISCONNECT).body[0], reasons)
            client.read_eof()
        client = self.raw("breaks", clean=False, expiry_s=100)
        client.publish("t", b"", 0, props=u16(ALIAS, 1))
        client.publish("", b"", 1, packet_id=1, props=u16(ALIAS, 1))
        client.read_ack(PUBACK)
        client.close()
        client = self.raw("breaks", clean=False, expiry_s=100)
        self.assertTrue(client.present)
        client.publish("", b"", 1, packet_id=1, props=u16(ALIAS, 1))
        self.assertIn(client.read(DISCONNECT).body[0], (0x82, 0x94))


class SessionAndLogin(Drivers, ByHand):
    def test_expiry_at_disconnect(self):
        """MQTT 5 §3.14.2.2.2: changed by DISCONNECT: 0 ends the session at once, a number makes it last; not from 0."""
        for transport in TRANSPORTS:
            keep = {"version": V5, "clean": False, "transport": transport}
            self.mqtt("s", expiry_s=300, **keep).disconnect(SessionExpiryInterval=0)
            client = self.mqtt("s", expiry_s=1, **keep)
            self.assertFalse(client.session_present)
            client.disconnect(SessionExpiryInterval=300)
            client = self.mqtt("s", expiry_s=300, **keep)
            self.assertTrue(client.session_present)
            client.disconnect(SessionExpiryInterval=0)
        client = self.raw("zero")
        client.send(packet(DISCONNECT, b"\0\5" + u32(0x11, 300)))  # the session was to end with the connection
        self.assertEqual(client.read(DISCONNECT).body[:1], b"\x82")

    def test_assigned_client_id(self):
        """[MQTT-3.2.2-16] told in the CONNACK, unique, and good for coming back."""
        ids = set()
        for transport in TRANSPORTS * 2:
            client = self.mqtt("", version=V5, transport=transport, expiry_s=300)
            ids.add(client.granted_properties.AssignedClientIdentifier)
            client.subscribe("t", 1)
            client.drop()
        self.assertEqual(len(ids), 4)
        for assigned in ids:
            client = self.mqtt(assigned, version=V5, clean=False, expiry_s=0)
            self.assertTrue(client.session_present)
            self.assertFalse(hasattr(client.granted_properties, "AssignedClientIdentifier"))
            client.disconnect()

    def test_server_keep_alive(self):
        """[MQTT-3.1.2-21] max_keepalive cuts what the client asks for, and says so."""
        self.port = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nmax_keepalive 30\n")).port
        for asked, told in ((0, 30), (100, 30), (20, None)):
            client = self.mqtt("k", version=V5, keepalive=asked)
            self.assertEqual(getattr(client.granted_properties, "ServerKeepAlive", None), told)
            client.disconnect()

    def test_request_problem_information(self):
        """[MQTT-3.1.2-29] no reason strings and user properties but in CONNACK, PUBLISH and DISCONNECT."""
        client = self.raw("quiet", props=b"\x17\0")
        client.publish("$SYS/x", b"", 1, packet_id=1)
        self.assertIn(client.read(PUBACK).body[2:], (b"\x87", b"\x87\0"))

    def test_subscribe_reasons(self):
        """[MQTT-3.9.3-2] one reason for each filter, in order; what is wrong with one does not matter to the others."""
        client = self.raw("subscribes")
        filters = [("a/+", 2), ("$share/g/b", 1), ("c", 0)]
        client.send(packet(SUBSCRIBE, b"\0\7\0" + b"".join(text(f) + bytes([q]) for f, q in filters), 2))
        self.assertEqual(client.read(SUBACK).body, b"\0\7\0\2\1\0")


class Nobody(ByHand):
    """Whether anybody is there: nobody else may be."""

    OWN_BROKER = True

    def test_session_expires(self):
        """[MQTT-3.1.2-23] after the interval, not before; the queue goes with it."""
        client = self.mqtt("short", version=V5, clean=False, expiry_s=1)
        client.subscribe("t", 1)
        client.drop()
        start = time.monotonic()
        probe = self.raw("probe")

        def is_gone():
            """Looks without touching: PUBACK says 0x10, no matching subscribers."""
            probe.publish("t", b"x", 1, packet_id=1)
            return probe.read(PUBACK).body[2:3] == b"\x10"

        self.assertFalse(is_gone())
        wait_for("the end of the session", is_gone)
        self.assertGreater(time.monotonic() - start, 0.9)
        self.assertFalse(self.mqtt("short", version=V5, clean=False, expiry_s=1).session_present)

    def test_no_matching_subscribers(self):
        """0x10 in PUBACK and PUBREC is a success that says that nobody was there."""
        client = self.raw("lonely")
        for qos, kind in ((1, PUBACK), (2, PUBREC)):
            client.publish("nobody/here", b"", qos, packet_id=qos)
            self.assertEqual(client.read(kind).body[2:3], b"\x10")
        client.ack(PUBREL, 2)
        client.read_ack(PUBCOMP)


class Wills(ByHand):
    def will(self, client_id, delay, expiry_s, payload=b"gone"):
        will = {"topic": "will/t", "payload": payload, "qos": 1,
                "properties": properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay,
                                         UserProperty=[("a", "1"), ("a", "2")])}
        return self.mqtt(client_id, version=V5, clean=False, expiry_s=expiry_s, will=will)

    def setUp(self):
        super().setUp()
        self.watcher = self.mqtt("watcher", version=V5)
        self.watcher.subscribe("will/#", 1)
        self.pub = self.mqtt("pub")

    def nothing_so_far(self):
        self.pub.publish("will/mark", b"mark", 1)
        self.assertEqual(self.watcher.next().payload, b"mark")

    def test_delay(self):
        """[MQTT-3.1.2-8] [MQTT-3.1.3-10] after the delay, with its user properties in order."""
        start = time.monotonic()
        self.will("w", 1, 300).drop()
        self.nothing_so_far()
        got = self.watcher.next()
        self.assertEqual((got.payload, got.properties.UserProperty), (b"gone", [("a", "1"), ("a", "2")]))
        self.assertGreater(time.monotonic() - start, 0.9)

    def test_the_session_ends_first(self):
        """[MQTT-3.1.2-8] the will goes out when the session ends, if that is earlier."""
        start = time.monotonic()
        self.will("w", 300, 1).drop()
        self.assertEqual(self.watcher.next().payload, b"gone")
        self.assertGreater(time.monotonic() - start, 0.9)
        self.will("w", 300, 0, b"at once").drop()
        self.assertEqual(self.watcher.next().payload, b"at once")

    def test_back_in_time(self):
        """[MQTT-3.1.3-9] the client is back before the delay is over: no will."""
        self.will("w", 300, 300, b"never").drop()
        self.will("w", 300, 300, b"second").disconnect()
        self.nothing_so_far()

    def test_clean_start_ends_the_session(self):
        """A clean start within the delay ends the old session, and its will goes out."""
        self.will("w", 300, 300).drop()
        self.mqtt("w", version=V5, clean=True)
        self.assertEqual(self.watcher.next().payload, b"gone")


class RetainHandling(ByHand):
    def test_every_kind(self):
        """[MQTT-3.3.1-9] to [MQTT-3.3.1-11], over both transports, across a session that was resumed."""
        self.mqtt("pub").publish("rh/t", b"kept", 1, retain=True)
        pub = self.mqtt("pub2")
        for transport in TRANSPORTS:
            keep = {"version": V5, "clean": False, "expiry_s": 300, "transport": transport}
            client = self.mqtt("rh", **keep)
            client.subscribe("rh/#", 1, retainHandling=1)
            self.assertEqual(client.next().payload, b"kept")
            client.disconnect()
            client = self.mqtt("rh", **keep)
            self.assertTrue(client.session_present)
            client.subscribe("rh/#", 1, retainHandling=1)  # the subscription is not new: it was resumed
            client.subscribe("rh/t", 1, retainHandling=2)
            pub.publish("rh/t", b"live", 1)
            self.assertEqual(client.next().payload, b"live")
            client.subscribe("rh/#", 1, retainHandling=0)
            got = client.next()
            self.assertEqual((got.payload, got.retain), (b"kept", True))
            client.disconnect(SessionExpiryInterval=0)


if __name__ == "__main__":
    main()
