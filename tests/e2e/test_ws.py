# SPDX-License-Identifier: Apache-2.0
"""WebSocket by hand: the handshake and what it refuses, frames in every shape, the ends; and MQTT over a unix socket.

The clients people use are in test_clients_*.py, each over TCP and over WebSocket."""
import os
import struct
import time

from harness import E2E, main
from raw import CONNACK, DISCONNECT, PINGREQ, PINGRESP, Raw, RawMqtt, RawStomp, mqtt_connect, packet
from ws import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawWs, WsMqtt, frame_bytes


class Handshake(E2E):
    def ws(self):
        return self.keep(RawWs(self.port))

    def refused(self, *statuses, **options):
        """The request is answered with one of the statuses, and the connection ends."""
        client = self.ws()
        client.request(**options)
        status, headers = client.read_response()
        self.assertIn(status, statuses, options)
        client.read_eof()
        return headers

    def test_every_protocol_on_one_port(self):
        stomp, mqtt = self.keep(RawStomp(self.port)), self.keep(RawMqtt(self.port, 5))
        ws4, ws5, ws31 = (self.keep(WsMqtt(self.port, level, protocol=protocol))
                          for level, protocol in ((4, "mqtt"), (5, "mqtt"), (3, "mqttv3.1")))
        stomp.connect()
        stomp.request("SUBSCRIBE", ("destination", "/topic/t"), ("id", "0"))
        for number, client in enumerate((mqtt, ws4, ws5, ws31)):
            client.connect("c%d" % number)
            client.subscribe("t", 1)
        ws5.publish("t", b"x", 1, packet_id=7)
        self.assertEqual(stomp.read("MESSAGE").body, b"x")
        for client in (mqtt, ws4, ws31):
            self.assertEqual(client.read_publish()[:2], ("t", b"x"))

    def test_request_in_pieces(self):
        client = self.ws()
        client.send_slowly(client.request_bytes())
        self.assertEqual(client.read_response()[0], 101)

    def test_first_frames_behind_the_request(self):
        """What comes in the same packet as the request is not lost."""
        client = self.ws()
        client.send(client.request_bytes() + frame_bytes(BINARY, mqtt_connect(4, "eager")))
        self.assertEqual(client.read_response()[0], 101)
        self.assertEqual(client.read_frame(), (True, BINARY, b"\x20\x02\0\0"))

    def test_spellings(self):
        """RFC 6455 §4.2.1: names and tokens in any case, among others; several subprotocols; any path."""
        for options in ({"upgrade": "WebSocket"}, {"connection": "keep-alive, UPGRADE"}, {"path": "/"}, {"path": "/a?b=c"},
                        {"more": (("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),)}):
            client = self.ws()
            headers = client.upgrade(**options)
            self.assertNotIn("sec-websocket-extensions", headers)  # none is agreed to
        client = self.ws()
        client.request(protocol="soap, mqtt")
        status, headers = client.read_response()
        self.assertEqual((status, headers["sec-websocket-protocol"]), (101, "mqtt"))

    def test_origin(self):
        """RFC 6455 §10.2: a page of somebody else's may not use a visitor's browser to come in."""
        for origin in ("http://evil.example", "http://localhost:1", "null", "file://", "",
                       "http://127.0.0.1.evil.example:%d" % self.port):
            with self.subTest(origin=origin):
                self.refused(403, more=(("Origin", origin),))
        # a name that somebody pointed at this machine (DNS rebinding): origin and host agree, and it is refused all the same
        self.refused(403, host="evil.example:%d" % self.port, more=(("Origin", "http://evil.example:%d" % self.port),))
        for host in ("127.0.0.1:%d" % self.port, "localhost:%d" % self.port):
            self.ws().upgrade(host=host, more=(("Origin", "http://" + host),))

    def test_subprotocol(self):
        """None that is known is refused; with none at all MQTT does not get in [MQTT-6.0.0-3], but where it is lenient."""
        for protocol in ("soap", "MQTT", "mqtt2", "soap, xmpp"):
            with self.subTest(protocol=protocol):
                self.refused(400, protocol=protocol)
        client = self.ws()
        client.upgrade(protocol=None)
        client.frame(BINARY, mqtt_connect(4, "unnamed"))
        self.assertEqual(client.read_close(), 1002)
        self.port = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nconformance lenient\n")).port
        client = self.ws()
        client.upgrade(protocol=None)
        client.frame(BINARY, mqtt_connect(4, "unnamed"))
        self.assertEqual(client.read_frame(), (True, BINARY, b"\x20\x02\0\0"))

    def test_version(self):
        """RFC 6455 §4.4: another version is told which one is spoken here."""
        for version in ("8", "14", "0"):
            self.assertEqual(self.refused(426, version=version)["sec-websocket-version"], "13")
        self.refused(400, 426, version=None)

    def test_what_is_no_websocket_request(self):
        for options in ({"key": None}, {"key": "short"}, {"upgrade": None}, {"upgrade": "h2c"}, {"connection": None},
                        {"connection": "close"}, {"method": "POST"}, {"host": None}):
            with self.subTest(**options):
                self.refused(400, 405, 426, **options)

    def test_a_plain_page_request(self):
        """A browser that is pointed at the port gets an answer that says what is here."""
        client = self.ws()
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, _ = client.read_response()
        self.assertIn(status, (400, 404, 426))
        client.read_eof()

    def test_broken_http(self):
        for data in (b"GET /mqtt\r\n\r\n", b"GET /mqtt HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET /mqtt HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /mqtt HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 10000 + b"\r\n"):
            client = self.keep(Raw(self.port))
            try:
                client.send(data)
                rest = client.read_eof()
            except BrokenPipeError:  # refused before all of it was sent
                continue
            self.assertTrue(rest == b"" or rest.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")), rest[:100])

    def test_unfinished(self):
        """A request that never ends, a WebSocket without CONNECT, and one with half of it: the login time-out ends them."""
        path = self.write("weir.conf", "listener 0 127.0.0.1\nlogin_timeout 500\n")
        port = self.start("-c", path).port
        start = time.monotonic()
        clients = [self.keep(RawWs(port)) for _ in range(4)]
        clients[0].send(b"GET /mqtt HTTP/1.1\r\nHost: ")
        clients[1].send(clients[1].request_bytes()[:-2])
        clients[2].upgrade()
        clients[3].upgrade()
        clients[3].frame(BINARY, mqtt_connect(4, "half")[:5])
        for client in clients:
            client.read_eof()
        self.assertGreater(time.monotonic() - start, 0.4)
        self.assertLess(time.monotonic() - start, 10)

    def test_an_own_listener(self):
        """protocol websockets: nothing else there; websockets_origin and websockets_path."""
        path = self.write("weir.conf", "listener 0 127.0.0.1\nprotocol websockets\nwebsockets_path /mqtt\n"
                                       "websockets_origin https://dash.example\n")
        self.port = self.start("-c", path).port
        self.ws().upgrade(more=(("Origin", "https://dash.example"),))
        self.refused(403, more=(("Origin", "https://dash.example.evil"),))
        self.refused(404, 403, 400, path="/other")
        bare = self.keep(Raw(self.port))
        bare.send(mqtt_connect(4, "bare"))
        self.assertEqual(bare.read_eof(), b"")


class Frames(E2E):
    def ws(self):
        client = self.keep(RawWs(self.port))
        client.upgrade()
        return client

    def logged_in(self, client_id):
        client = self.ws()
        client.frame(BINARY, mqtt_connect(4, client_id))
        self.assertEqual(client.read_frame(), (True, BINARY, b"\x20\x02\0\0"))
        return client

    def ping_pong(self, client):
        client.frame(BINARY, packet(PINGREQ, b""))
        self.assertEqual(client.read_frame()[2], packet(PINGRESP, b""))

    def test_packets_and_frames_need_not_agree(self):
        """[MQTT-6.0.0-2] a packet over many frames and fragments, many packets in one frame, empty frames in between."""
        data = mqtt_connect(4, "pieces") + packet(PINGREQ, b"") * 3
        for step in (1, 2, 3, 7, len(data)):
            client = self.ws()
            for i in range(0, len(data), step):
                client.frame(BINARY, data[i:i + step])
                client.frame(BINARY, b"")
            got = b""
            while len(got) < 4 + 3 * 2:
                got += client.read_frame()[2]
            self.assertEqual(got, b"\x20\x02\0\0" + packet(PINGRESP, b"") * 3)
            client.close()

    def test_fragments(self):
        """RFC 6455 §5.4: one message in fragments, control frames between them."""
        client = self.ws()
        data = mqtt_connect(4, "fragments")
        for i in range(len(data)):
            client.frame(BINARY if i == 0 else CONTINUATION, data[i:i + 1], final=i == len(data) - 1)
            if i < len(data) - 1:
                client.frame(PING, b"%d" % i)
                self.assertEqual(client.read_frame(), (True, PONG, b"%d" % i))
        self.assertEqual(client.read_frame()[2], b"\x20\x02\0\0")

    def test_ping(self):
        """RFC 6455 §5.5.2: the pong has the same payload; a pong that nobody asked for is ignored."""
        client = self.logged_in("pings")
        for payload in (b"", b"x", bytes(range(125))):
            client.frame(PONG, b"unasked")
            client.frame(PING, payload)
            self.assertEqual(client.read_frame(), (True, PONG, payload))
        self.ping_pong(client)

    def test_many_pings_at_once(self):
        """Control frames are bounded, too: a flood of pings is answered, or the latest of them is."""
        client = self.logged_in("floods")
        client.send(b"".join(frame_bytes(PING, b"%04d" % i) for i in range(5000)))
        payload = b""
        while payload != b"4999":
            _, opcode, payload = client.read_frame()
            self.assertEqual(opcode, PONG)
        self.ping_pong(client)

    def test_lengths(self):
        """Each of the three forms of the length, at its borders, both ways."""
        client = self.keep(WsMqtt(self.port))
        client.connect("lengths")
        client.subscribe("l", 0)
        for n in (0, 1, 110, 118, 119, 120, 121, 122, 125, 126, 127, 65520, 65530, 65535, 65536, 70000, 1000000):
            client.publish("l", bytes(n))
            self.assertEqual(len(client.read_publish()[1]), n)

    def breach(self, code, data, logged_in=True):
        """The bytes break the rules: a close frame with that code, and the end."""
        client = self.logged_in("breaks") if logged_in else self.ws()
        client.send(data)
        self.assertEqual(client.read_close(), code)
        client.close()

    def test_breaches(self):
        whole = packet(PINGREQ, b"")
        too_long = bytes([0x80 | BINARY, 0x80 | 126]) + struct.pack(">H", 2) + bytes(4) + whole  # not the shortest length
        for code, data in (
                (1002, frame_bytes(BINARY, whole, mask=False)),                       # §5.1: a client must mask
                (1002, frame_bytes(BINARY, whole, reserved=4)),                       # §5.2: no extension was agreed
                (1002, frame_bytes(3, whole)), (1002, frame_bytes(11, b"")),          # §5.2: no such opcode
                (1002, frame_bytes(CONTINUATION, whole)),                             # §5.4: continues nothing
                (1002, frame_bytes(BINARY, whole, final=False) + frame_bytes(BINARY, whole)),
                (1002, frame_bytes(PING, b"x", final=False)),                         # §5.5: a control frame in fragments
                (1002, frame_bytes(PING, bytes(126))),                                # §5.5: a long one
                (1002, too_long),
                (1002, bytes([0x82, 0xff]) + b"\xff" * 8 + bytes(4)),                 # §5.2: the topmost bit of 64
                (1003, frame_bytes(TEXT, b"x"))):                                     # [MQTT-6.0.0-1] binary only
            with self.subTest(data=data[:16]):
                for logged_in in (True, False):
                    self.breach(code, data, logged_in)

    def test_will_after_a_breach(self):
        """[MQTT-3.1.2-8] the connection was not ended by DISCONNECT."""
        watcher = self.mqtt("watcher")
        watcher.subscribe("will/t", 1)
        client = self.ws()
        client.frame(BINARY, mqtt_connect(4, "breaks", will=("will/t", b"gone", 1, 0)))
        client.read_frame()
        client.frame(TEXT, b"oops")
        self.assertEqual(watcher.next().payload, b"gone")

    def test_close(self):
        """RFC 6455 §5.5.1: the close frame is answered with its code, and the connection ends; before the login, too."""
        for start in (self.ws, lambda: self.logged_in("closes")):
            for payload in (b"", struct.pack(">H", 1000), struct.pack(">H", 1001) + b"going", struct.pack(">H", 4000)):
                client = start()
                client.frame(CLOSE, payload)
                self.assertIn(client.read_close(), (int.from_bytes(payload[:2], "big"), 1000) if payload else (None, 1000))
                client.close()

    def test_bad_close(self):
        """§7.4.1, §5.5.1: codes that must not be sent, one byte, text that is no UTF-8."""
        for payload in (b"\3", struct.pack(">H", 1005), struct.pack(">H", 999), struct.pack(">H", 1000) + b"\xff\xfe"):
            with self.subTest(payload=payload):
                client = self.logged_in("closes")
                client.frame(CLOSE, payload)
                self.assertEqual(client.read_close(), 1002)
                client.close()

    def test_disconnect_closes_well(self):
        """MQTT's DISCONNECT is followed by the close handshake, not by a reset."""
        client = self.logged_in("leaves")
        client.frame(BINARY, packet(DISCONNECT, b""))
        self.assertEqual(client.read_close(), 1000)

    def test_mqtt_errors_are_told_inside(self):
        """Refused by MQTT: CONNACK or DISCONNECT in a frame, then the close frame."""
        client = self.ws()
        client.frame(BINARY, mqtt_connect(4, "", clean=False))
        self.assertEqual(client.read_frame()[2], b"\x20\x02\0\x02")  # 3.1.1: [MQTT-3.1.3-8]
        self.assertEqual(client.read_close(), 1000)

    def test_stopping(self):
        """1001, going away; MQTT 5 is told by DISCONNECT before."""
        broker = self.start("-p", "0", "-v")
        client = self.keep(RawWs(broker.port))
        client.upgrade()
        client.frame(BINARY, mqtt_connect(5, "stays"))
        self.assertEqual(client.read_frame()[2][:1], bytes([CONNACK << 4]))
        broker.stop()
        self.assertEqual(client.read_frame()[2][2:3], b"\x8b")
        self.assertEqual(client.read_close(), 1001)


class UnixSocket(E2E):
    ARGS = None

    def test_every_protocol(self):
        """MQTT, WebSocket and STOMP through a unix socket; it is gone when the broker is."""
        path = os.path.join(self.directory, "weir.sock")
        broker = self.start("-c", self.write("weir.conf", "listener 0 127.0.0.1\nlistener 0 %s\n" % path))
        mqtt3, mqtt5, stomp = self.keep(RawMqtt(path)), self.keep(RawMqtt(path, 5)), self.keep(RawStomp(path))
        ws = self.keep(RawWs(path))
        ws.host = "localhost"
        tcp = self.keep(RawMqtt(broker.port))
        for number, client in enumerate((mqtt3, mqtt5, tcp)):
            client.connect("c%d" % number)
            client.subscribe("t/#", 2)
        stomp.connect()
        ws.upgrade()
        ws.frame(BINARY, mqtt_connect(4, "ws"))
        ws.read_frame()
        for qos in (0, 1):
            mqtt3.publish("t/%d" % qos, b"x" * 100000, qos, packet_id=5)
            for client in (mqtt5, tcp):
                self.assertEqual(client.read_publish()[:3], ("t/%d" % qos, b"x" * 100000, qos))
        for client in (mqtt5, stomp):
            client.close()
        self.assertTrue(os.path.exists(path))
        broker.stop()
        self.assertFalse(os.path.exists(path))

    def test_a_socket_left_behind(self):
        """After a crash the path is still there: a broker takes it over when nobody listens, and not when somebody does."""
        path = os.path.join(self.directory, "weir.sock")
        config = self.write("weir.conf", "listener 0 127.0.0.1\nlistener 0 %s\n" % path)
        first = self.start("-c", config)
        with self.assertRaises(Exception):
            self.start("-c", config)
        first.child.kill()
        first.child.wait()
        self.brokers.remove(first)
        first.kill()
        self.start("-c", config)
        client = self.keep(RawMqtt(path))
        client.connect("c")
        client.ping()


if __name__ == "__main__":
    main()
