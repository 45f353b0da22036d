# SPDX-License-Identifier: Apache-2.0
"""One port for every protocol, bytes that are no protocol, connections that do nothing, and the end of the broker."""
import random
import signal
import time

from harness import E2E, is_sanitized, main, mqtt_only, rss_kb
from raw import CONNACK, DISCONNECT, Raw, RawMqtt, RawStomp, frame, mqtt_connect

LOGIN_S = 10  # docs/limits.md: a connection that has not logged in by then is closed


class OnePort(E2E):
    def test_every_protocol_on_one_port(self):
        mqtt3, mqtt31, mqtt5 = (self.keep(RawMqtt(self.port, level)) for level in (4, 3, 5))
        stomp = [self.keep(RawStomp(self.port, version)) for version in ("1.0", "1.1", "1.2")]
        for number, client in enumerate((mqtt3, mqtt31, mqtt5)):
            client.connect("c%d" % number)
        for client in stomp:
            client.connect()
        mqtt3.subscribe("t", 0)
        stomp[2].frame("SEND", ("destination", "/topic/t"), body=b"x")
        self.assertEqual(mqtt3.read_publish()[:2], ("t", b"x"))

    def test_first_bytes_one_at_a_time(self):
        """The protocol is found however the first bytes are cut, for both at the same time."""
        mqtt, stomp = self.keep(RawMqtt(self.port)), self.keep(RawStomp(self.port))
        a = mqtt.connect_packet("slow")
        b = frame("CONNECT", [("accept-version", "1.2"), ("host", "localhost")])
        for i in range(max(len(a), len(b))):
            mqtt.send(a[i:i + 1])
            stomp.send(b[i:i + 1])
        self.assertEqual(mqtt.read(CONNACK).body, b"\0\0")
        self.assertEqual(stomp.read("CONNECTED")["version"], "1.2")

    def test_line_ends_before_stomp(self):
        """At most 64 line ends may come before the first frame."""
        client = self.keep(RawStomp(self.port))
        client.send(b"\n" * 60)
        client.connect()
        flood = self.keep(Raw(self.port))
        flood.send(b"\n" * 200)
        flood.read_eof(LOGIN_S / 2)


class Garbage(E2E):
    def still_serves(self):
        pub = self.mqtt("pub")
        pub.subscribe("ok", 1)
        pub.publish("ok", b"x", 1)
        self.assertEqual(pub.next().payload, b"x")
        pub.disconnect()

    def test_garbage_is_refused_at_once(self):
        noise = random.Random(2)
        garbage = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80),  # a TLS ClientHello
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\0" * 64,
            b"\xff" * 64,
            b"A" * 4096,
            b"CONNECTING\n\n\0",
            b"\x10\xff\xff\xff\xff\x7f" + b"x" * 64,        # CONNECT with a remaining length of five bytes
            b"\x10\x10\x00\x04HTTP\x04\x02\x00\x3c\x00\x04abcd",
            b"\x30\x05\x00\x01abc" + b"x" * 16,             # PUBLISH first
            b"\xc0\x00" * 20,                               # PINGREQ first
            b"\x1f" + b"x" * 40,                            # CONNECT with flags
        ] + [bytes([noise.choice(b"\x00\x01\x0f\x20\x42\x80\xf0")]) + noise.randbytes(64) for _ in range(50)]
        for data in garbage:
            with self.subTest(data=data[:24]):
                client = Raw(self.port)
                try:
                    client.send(data)
                    client.read_eof(LOGIN_S / 2)
                except BrokenPipeError:
                    pass  # refused before all of it was sent
                finally:
                    client.close()
        self.still_serves()

    @mqtt_only
    def test_garbage_after_login(self):
        noise = random.Random(3)
        for i in range(50):
            client = RawMqtt(self.port, 4 + i % 2)
            try:
                client.connect("noise%d" % i)
                client.send(bytes([0xF0 if client.level == 4 else 0x36]) + b"\x20" + noise.randbytes(64))
                client.read_eof()
            except (BrokenPipeError, ConnectionResetError):
                pass
            finally:
                client.close()
        self.still_serves()

    def test_silence_before_login(self):
        """Who says nothing, and who begins and never ends, is closed after the login time-out."""
        start = time.monotonic()
        clients = []
        for data in (b"", b"\x10", b"CONN", mqtt_connect(4, "x")[:-1],
                     b"CONNECT\naccept-version:1.2\n"):
            client = self.keep(Raw(self.port))
            client.send(data)
            clients.append(client)
        for client in clients:
            client.read_eof(LOGIN_S + 5)
        self.assertGreater(time.monotonic() - start, LOGIN_S / 2)
        self.still_serves()

    @mqtt_only
    def test_connections_that_vanish(self):
        """Open, a few bytes, gone; five hundred times."""
        data = mqtt_connect(4, "vanishing")
        for i in range(500):
            client = Raw(self.port)
            client.send(data[:i % (len(data) + 1)])
            client.close()
        self.still_serves()

    def test_who_never_reads_holds_up_nobody(self):
        """A subscriber that does not read costs its own messages only."""
        stuck = self.keep(RawMqtt(self.port))
        stuck.connect("stuck")
        stuck.subscribe("flood", 0)
        healthy, pub = self.mqtt("healthy"), self.mqtt("pub")
        healthy.subscribe("flood", 1)
        payload = bytes(100000)
        for i in range(300):  # 30 MB: more than any socket buffer
            pub.publish("flood", payload, 1)
            self.assertEqual(len(healthy.next().payload), len(payload))


class Idle(E2E):
    OWN_BROKER = True
    N = 1000

    def test_idle_connections_are_small(self):
        """A thousand idle MQTT connections cost less than 2 KB each. Sanitizers cost more than the broker does: with them
        only that the connections work is tested, not the number."""
        pid = self.broker.child.pid
        first = self.keep(RawMqtt(self.port))
        first.connect("first")
        before = rss_kb(pid)
        clients = []
        for i in range(self.N):
            client = self.keep(RawMqtt(self.port))
            client.send(client.connect_packet("idle-%d" % i))
            clients.append(client)
        for client in clients:
            self.assertEqual(client.read(CONNACK).body, b"\0\0")
        each = (rss_kb(pid) - before) * 1024 / self.N
        print("RSS per idle connection: %d bytes" % each)
        if not is_sanitized(pid):
            self.assertLess(each, 2048)


class Stopping(E2E):
    OWN_BROKER = True

    def test_mqtt5_is_told(self):
        """DISCONNECT 0x8B (server shutting down) to MQTT 5; everybody's connection ends; exit code 0."""
        for how in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=how):
                broker = self.start("-p", "0")
                new, old, stomp = RawMqtt(broker.port, 5), RawMqtt(broker.port, 4), RawStomp(broker.port)
                for client in (new, old, stomp):
                    self.keep(client)
                new.connect("new")
                old.connect("old")
                stomp.connect()
                waiting = self.keep(Raw(broker.port))  # has not said what it is
                broker.stop(how)
                self.assertEqual(new.read(DISCONNECT).body[:1], b"\x8b")
                self.assertEqual(new.read_eof(), b"")
                self.assertEqual(old.read_eof(), b"")
                stomp.read_eof()
                self.assertEqual(waiting.read_eof(), b"")

    def test_with_many_connections(self):
        for i in range(200):
            client = self.keep(RawMqtt(self.port, 4 + i % 2))
            client.connect("c%d" % i, clean=i % 3 == 0)
            client.subscribe("t/#", 1)
        self.mqtt("pub").publish("t/1", b"x" * 1000, 1)
        self.broker.stop()

    def test_with_a_stuck_reader(self):
        """A peer that does not read does not hold up the end."""
        stuck = self.keep(RawMqtt(self.port))
        stuck.connect("stuck")
        stuck.subscribe("flood", 0)
        pub = self.mqtt("pub")
        for _ in range(100):
            pub.publish("flood", bytes(100000), 0)
        pub.publish("end", b"", 1)
        self.broker.stop()

    def test_what_was_received_is_answered_or_not_but_never_half(self):
        """A publisher that is cut off in the middle sees whole packets only."""
        pub = self.keep(RawMqtt(self.port))
        pub.connect("pub")
        for i in range(1, 2000):
            pub.publish("t", b"x", 1, packet_id=i)
        self.broker.stop()
        data = pub.read_eof()
        self.assertEqual(len(data) % 4, 0)
        ids = [int.from_bytes(data[i + 2:i + 4], "big") for i in range(0, len(data), 4)]
        self.assertEqual(ids, list(range(1, len(ids) + 1)))


if __name__ == "__main__":
    main()
