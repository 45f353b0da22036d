# SPDX-License-Identifier: Apache-2.0
"""STOMP 1.0, 1.1 and 1.2: strict checks by hand (RawStomp), and stomp.py as a client people use."""
import time

from harness import E2E, main
from raw import RawStomp


class Stomp(E2E):
    def raw(self, *headers, version="1.2"):
        client = self.keep(RawStomp(self.port, version))
        client.connect(*headers)
        return client


class Connecting(Stomp):
    def test_versions(self):
        """STOMP 1.2 §Protocol Negotiation: the highest both know; no accept-version is 1.0."""
        for accept, expected in (("1.2", "1.2"), ("1.0,1.1,1.2", "1.2"), ("1.1,1.0", "1.1"), ("1.0", "1.0"),
                                 ("1.2,2.0", "1.2")):
            for command in ("CONNECT", "STOMP"):
                client = self.keep(RawStomp(self.port))
                client.frame(command, ("accept-version", accept), ("host", "localhost"))
                self.assertEqual(client.read("CONNECTED")["version"], expected)
                client.close()
        old = self.keep(RawStomp(self.port, "1.0"))
        old.frame("CONNECT", ("login", ""), ("passcode", ""))
        self.assertIn(old.read("CONNECTED")["version"], (None, "1.0"))

    def test_no_common_version(self):
        client = self.keep(RawStomp(self.port))
        client.frame("CONNECT", ("accept-version", "9.9"), ("host", "localhost"))
        error = client.read_error()
        self.assertEqual(error["version"], "1.0,1.1,1.2")

    def test_first_frame_must_connect(self):
        client = self.keep(RawStomp(self.port))
        client.frame("SEND", ("destination", "/topic/a"))
        data = client.read_eof()
        self.assertTrue(not data or data.startswith(b"ERROR\n"), data)

    def test_connecting_twice(self):
        client = self.raw()
        client.frame("CONNECT", ("accept-version", "1.2"), ("host", "localhost"))
        client.read_error()

    def test_every_version_with_stomp_py(self):
        for version in ("1.0", "1.1", "1.2"):
            with self.subTest(version=version):
                one, two = self.stomp(version=version), self.stomp(version=version)
                one.subscribe("/topic/a.*", id="7")
                two.send("/topic/a.b", b"hello", color="blue")
                frame = one.next()
                self.assertEqual((frame.body, frame.headers["color"]), (b"hello", "blue"))
                one.unsubscribe("7")
                one.disconnect()

    def test_disconnect_receipt_is_the_last(self):
        """STOMP 1.2 §DISCONNECT: its RECEIPT says that every earlier frame was received, and the connection ends."""
        client = self.raw()
        for i in range(10):
            client.frame("SEND", ("destination", "/topic/a"), ("receipt", str(i)), body=b"x")
        client.frame("DISCONNECT", ("receipt", "bye"))
        self.assertEqual([client.read("RECEIPT")["receipt-id"] for _ in range(11)], [str(i) for i in range(10)] + ["bye"])
        self.assertEqual(client.read_eof().strip(b"\r\n"), b"")


class Frames(Stomp):
    def test_receipts_in_order(self):
        """STOMP 1.2 §RECEIPT, for every frame, in the order of what they answer."""
        client = self.raw()
        for i in range(0, 100, 4):
            client.frame("SUBSCRIBE", ("destination", "/topic/nobody.%d" % i), ("id", str(i)), ("receipt", str(i)))
            client.frame("SEND", ("destination", "/topic/a"), ("receipt", str(i + 1)), body=b"x" * i)
            client.frame("UNSUBSCRIBE", ("id", str(i)), ("receipt", str(i + 2)))
            client.frame("SEND", ("destination", "/queue/r"), ("receipt", str(i + 3)))
        self.assertEqual([client.read("RECEIPT")["receipt-id"] for _ in range(100)], [str(i) for i in range(100)])

    def test_message_headers(self):
        """STOMP 1.2 §MESSAGE"""
        client = self.raw()
        client.request("SUBSCRIBE", ("destination", "/topic/a.*"), ("id", "my id"))
        client.frame("SEND", ("destination", "/topic/a.b"), ("content-type", "text/plain"), body=b"hi")
        first = client.read("MESSAGE")
        client.frame("SEND", ("destination", "/topic/a.b"), body=b"")
        second = client.read("MESSAGE")
        self.assertEqual(first["destination"], "/topic/a.b")
        self.assertEqual(first["subscription"], "my id")
        self.assertEqual((first["content-type"], first["content-length"], first.body), ("text/plain", "2", b"hi"))
        self.assertEqual(second.body, b"")
        self.assertNotEqual(first["message-id"], second["message-id"])
        self.assertIn(first["redelivered"], (None, "false"))

    def test_binary_bodies(self):
        """STOMP 1.2 §Header content-length: NUL bytes inside; without it the first NUL ends the body."""
        client = self.raw()
        client.request("SUBSCRIBE", ("destination", "/topic/b"), ("id", "1"))
        every = bytes(range(256)) * 3
        client.frame("SEND", ("destination", "/topic/b"), ("content-length", str(len(every))), body=every)
        self.assertEqual(client.read("MESSAGE").body, every)
        client.send(b"SEND\ndestination:/topic/b\n\nuntil here\0\n\nSEND\ndestination:/topic/b\n\nnext\0")
        self.assertEqual([client.read("MESSAGE").body for _ in range(2)], [b"until here", b"next"])

    def test_escapes(self):
        """STOMP 1.2 §Value Encoding: what is escaped comes back as it was, names too."""
        for version, value in (("1.2", "a:b\\c\nd\re"), ("1.1", "a:b\\c\nd")):
            client = self.raw(version=version)
            client.request("SUBSCRIBE", ("destination", "/topic/e"), ("id", "1"))
            client.frame("SEND", ("destination", "/topic/e"), ("x:y", value), ("last", "ü"), body=b"")
            got = client.read("MESSAGE")
            self.assertEqual((got["x:y"], got["last"]), (value, "ü"))
            client.close()

    def test_line_ends(self):
        """STOMP 1.2 §Frames and Headers: CR LF is a line end, and line ends between frames are nothing."""
        client = self.raw()
        client.send(b"\n\r\n\n")
        client.request("SUBSCRIBE", ("destination", "/topic/l"), ("id", "1"))
        client.frame("SEND", ("destination", "/topic/l"), ("k", "v"), body=b"x\r\n", eol="\r\n")
        got = client.read("MESSAGE")
        self.assertEqual((got["k"], got.body), ("v", b"x\r\n"))

    def test_first_of_repeated_headers_wins(self):
        """STOMP 1.2 §Repeated Header Entries"""
        client = self.raw()
        client.request("SUBSCRIBE", ("destination", "/topic/first"), ("id", "1"))
        client.frame("SEND", ("destination", "/topic/first"), ("destination", "/topic/second"), ("k", "1"), ("k", "2"))
        self.assertEqual(client.read("MESSAGE")["k"], "1")

    def test_byte_by_byte(self):
        client = self.keep(RawStomp(self.port))
        client.send_slowly(b"\n\nCONNECT\naccept-version:1.2\nhost:localhost\n\n\0\nSUBSCRIBE\ndestination:/topic/s\nid:1\n"
                           b"receipt:r\n\n\0SEND\ndestination:/topic/s\ncontent-length:3\n\na\0b\0\n")
        client.read("CONNECTED")
        client.read("RECEIPT")
        self.assertEqual(client.read("MESSAGE").body, b"a\0b")

    def test_bad_frames(self):
        """STOMP 1.2 §ERROR: one ERROR with a message, then the end, and the broker serves on."""
        bad = {
            "unknown command": b"HELLO\n\n\0",
            "lower case command": b"send\ndestination:/topic/a\n\nx\0",
            "SEND without destination": b"SEND\n\nx\0",
            "SUBSCRIBE without id": b"SUBSCRIBE\ndestination:/topic/a\n\n\0",
            "SUBSCRIBE without destination": b"SUBSCRIBE\nid:1\n\n\0",
            "UNSUBSCRIBE without id": b"UNSUBSCRIBE\n\n\0",
            "UNSUBSCRIBE of nothing": b"UNSUBSCRIBE\nid:77\n\n\0",
            "unknown ack mode": b"SUBSCRIBE\ndestination:/topic/a\nid:1\nack:maybe\n\n\0",
            "ACK without id": b"ACK\n\n\0",
            "ACK of nothing": b"ACK\nid:nothing\n\n\0",
            "undefined escape": b"SEND\ndestination:/topic/a\nk:\\t\n\nx\0",
            "escape at the end": b"SEND\ndestination:/topic/a\nk:x\\\n\nx\0",
            "header without colon": b"SEND\ndestination:/topic/a\nnonsense\n\nx\0",
            "content-length is no number": b"SEND\ndestination:/topic/a\ncontent-length:3x\n\nabc\0",
            "negative content-length": b"SEND\ndestination:/topic/a\ncontent-length:-1\n\nabc\0",
            "content-length too short": b"SEND\ndestination:/topic/a\ncontent-length:1\n\nabc\0",
            "enormous content-length": b"SEND\ndestination:/topic/a\ncontent-length:99999999999999999999\n\nabc\0",
            "body above the limit": b"SEND\ndestination:/topic/a\ncontent-length:1000000000\n\nabc",
            "wildcard in SEND": b"SEND\ndestination:/topic/a.#\n\nx\0",
            "header line above the limit": b"SEND\ndestination:/topic/a\nk:" + b"v" * 20000 + b"\n\nx\0",
            "too many headers": b"SEND\ndestination:/topic/a\n" + b"k:v\n" * 500 + b"\nx\0",
            "MESSAGE from a client": b"MESSAGE\ndestination:/topic/a\nmessage-id:1\nsubscription:1\n\nx\0",
        }
        for name, data in bad.items():
            with self.subTest(name=name):
                client = self.raw()
                client.send(data)
                client.read_error()
                client.close()
        self.raw().request("SEND", ("destination", "/topic/a"), body=b"still here")

    def test_error_names_the_receipt(self):
        """STOMP 1.2 §ERROR: receipt-id of the frame that was wrong; content-type and a body for people."""
        client = self.raw()
        client.frame("SEND", ("receipt", "r-7"), body=b"x")
        error = client.read_error()
        self.assertEqual(error["receipt-id"], "r-7")
        self.assertTrue(error["content-type"].startswith("text/plain"))
        self.assertTrue(error.body)

    def test_frames_before_an_error_count(self):
        client = self.raw()
        client.frame("SEND", ("destination", "/queue/kept"), ("receipt", "1"), body=b"kept")
        client.send(b"NONSENSE\n\n\0")
        self.assertEqual(client.read("RECEIPT")["receipt-id"], "1")
        client.read_error()
        other = self.raw()
        other.request("SUBSCRIBE", ("destination", "/queue/kept"), ("id", "1"))
        self.assertEqual(other.read("MESSAGE").body, b"kept")


class Subscriptions(Stomp):
    def test_two_on_one_connection(self):
        client = self.raw()
        client.request("SUBSCRIBE", ("destination", "/topic/a.*"), ("id", "one"))
        client.request("SUBSCRIBE", ("destination", "/topic/a.b"), ("id", "two"))
        client.frame("SEND", ("destination", "/topic/a.b"), body=b"x")
        self.assertEqual(sorted(client.read("MESSAGE")["subscription"] for _ in range(2)), ["one", "two"])

    def test_unsubscribe(self):
        client = self.raw()
        client.request("SUBSCRIBE", ("destination", "/topic/a"), ("id", "one"))
        client.request("SUBSCRIBE", ("destination", "/topic/end"), ("id", "two"))
        client.request("UNSUBSCRIBE", ("id", "one"))
        client.frame("SEND", ("destination", "/topic/a"), body=b"x")
        client.frame("SEND", ("destination", "/topic/end"), body=b"x")
        self.assertEqual(client.read("MESSAGE")["subscription"], "two")

    def test_ids_belong_to_the_connection(self):
        """STOMP 1.2 §SUBSCRIBE id Header: the same id elsewhere is another subscription; twice here is an ERROR."""
        one, two = self.raw(), self.raw()
        for client in (one, two):
            client.request("SUBSCRIBE", ("destination", "/topic/a"), ("id", "1"))
        one.frame("SEND", ("destination", "/topic/a"), body=b"x")
        self.assertEqual(one.read("MESSAGE").body, b"x")
        self.assertEqual(two.read("MESSAGE").body, b"x")
        one.frame("SUBSCRIBE", ("destination", "/topic/b"), ("id", "1"))
        one.read_error()

    def test_topic_messages_need_a_subscriber(self):
        client = self.raw()
        client.request("SEND", ("destination", "/topic/a"), body=b"before")
        client.request("SUBSCRIBE", ("destination", "/topic/a"), ("id", "1"))
        client.frame("SEND", ("destination", "/topic/a"), body=b"after")
        self.assertEqual(client.read("MESSAGE").body, b"after")


class Queues(Stomp):
    def fill(self, name, n):
        client = self.raw()
        for i in range(n):
            client.request("SEND", ("destination", "/queue/" + name), body=b"%d" % i)
        client.close()

    def consumer(self, name, ack, *headers):
        client = self.raw()
        client.request("SUBSCRIBE", ("destination", "/queue/" + name), ("id", "1"), ("ack", ack), *headers)
        return client

    def leave(self, client):
        """Ends the connection; what it asked before has been done then."""
        client.request("DISCONNECT")
        client.read_eof()

    def take(self, client, n):
        return [client.read("MESSAGE") for _ in range(n)]

    def end_of(self, name):
        """What is still in the queue, as (body, redelivered)."""
        pub = self.raw()
        pub.request("SEND", ("destination", "/queue/" + name), body=b"end")
        client, got = self.consumer(name, "auto"), []
        while True:
            frame = client.read("MESSAGE")
            if frame.body == b"end":
                return got
            got.append((frame.body, frame["redelivered"] == "true"))

    def test_waits_for_a_consumer(self):
        self.fill("q", 5)
        client = self.consumer("q", "auto")
        self.assertEqual([f.body for f in self.take(client, 5)], [b"%d" % i for i in range(5)])
        self.leave(client)
        self.assertEqual(self.end_of("q"), [])

    def test_names_are_opaque(self):
        """'.' and '/' and '*' in a queue's name are letters."""
        self.fill("a.b/c*", 1)
        self.assertEqual(self.end_of("a.b/x*"), [])
        self.assertEqual(self.end_of("a.b/c*"), [(b"0", False)])

    def test_one_message_goes_to_one_consumer(self):
        one, two = self.consumer("q", "auto"), self.consumer("q", "auto")
        self.fill("q", 10)
        for client in (one, two):
            client.frame("SEND", ("destination", "/topic/x"), ("receipt", "now"))
        got = []
        for client in (one, two):
            while True:
                frame = client.read()
                if frame.command == "RECEIPT":
                    break
                got.append(frame.body)
        self.assertEqual(sorted(got), [b"%d" % i for i in range(10)])

    def test_client_ack_is_cumulative(self):
        """STOMP 1.2 §SUBSCRIBE ack Header: client"""
        self.fill("q", 5)
        client = self.consumer("q", "client")
        frames = self.take(client, 5)
        client.request("ACK", ("id", frames[2]["ack"]))
        self.leave(client)
        self.assertEqual(self.end_of("q"), [(b"3", True), (b"4", True)])

    def test_client_individual_ack(self):
        """STOMP 1.2 §SUBSCRIBE ack Header: client-individual; the rest comes again in its old order."""
        self.fill("q", 5)
        client = self.consumer("q", "client-individual")
        frames = self.take(client, 5)
        client.request("ACK", ("id", frames[2]["ack"]))
        client.request("ACK", ("id", frames[0]["ack"]))
        self.leave(client)
        self.assertEqual(self.end_of("q"), [(b"1", True), (b"3", True), (b"4", True)])

    def test_lost_connection_gives_back(self):
        self.fill("q", 3)
        client = self.consumer("q", "client-individual")
        self.take(client, 3)
        other = self.consumer("q", "client-individual")
        client.close()
        self.assertEqual([(f.body, f["redelivered"] == "true") for f in self.take(other, 3)],
                         [(b"0", True), (b"1", True), (b"2", True)])

    def test_nack_requeues(self):
        """STOMP 1.2 §NACK: it comes again, marked, and can be acknowledged then."""
        self.fill("q", 2)
        client = self.consumer("q", "client-individual", ("prefetch-count", "1"))
        frame = client.read("MESSAGE")
        self.assertEqual((frame.body, frame["redelivered"] == "true"), (b"0", False))
        client.frame("NACK", ("id", frame["ack"]))
        again = client.read("MESSAGE")
        self.assertEqual((again.body, again["redelivered"]), (b"0", "true"))
        client.frame("ACK", ("id", again["ack"]))
        self.assertEqual(client.read("MESSAGE").body, b"1")

    def test_prefetch(self):
        """prefetch-count: no more than that many without their ACK."""
        self.fill("q", 3)
        client = self.consumer("q", "client-individual", ("prefetch-count", "2"))
        first, second = self.take(client, 2)
        client.request("SEND", ("destination", "/topic/x"))  # its RECEIPT comes next, and not a third message
        client.frame("ACK", ("id", first["ack"]))
        self.assertEqual(client.read("MESSAGE").body, b"2")

    def test_ack_of_1_0_and_1_1(self):
        """STOMP 1.1 §ACK: message-id and subscription; STOMP 1.0 §ACK: message-id"""
        for version in ("1.0", "1.1"):
            with self.subTest(version=version):
                name = "old-" + version  # end_of leaves a consumer behind
                self.fill(name, 2)
                client = self.raw(version=version)
                client.request("SUBSCRIBE", ("destination", "/queue/" + name), ("id", "1"), ("ack", "client"))
                frames = self.take(client, 2)
                client.request("ACK", ("message-id", frames[1]["message-id"]), ("subscription", "1"))
                self.leave(client)
                self.assertEqual(self.end_of(name), [])

    def test_stomp_py_nack(self):
        one, two = self.stomp(), self.stomp()
        two.send("/queue/n", b"job")
        one.subscribe("/queue/n", ack="client-individual")
        one.nack(one.next())
        again = one.next()
        self.assertEqual((again.body, again.headers["redelivered"]), (b"job", "true"))
        one.ack(again)


class HeartBeats(Stomp):
    def test_stomp_py_stays_connected(self):
        """Both sides beat every second; after four seconds nobody missed one."""
        client = self.stomp(heartbeats=(1000, 1000))
        self.assertNotEqual(client.connected.headers["heart-beat"], "0,0")
        self.assertFalse(client.late.wait(4), "stomp.py missed the broker's heart-beats")
        self.assertFalse(client.ended.is_set(), "the broker closed a connection that beats")
        client.subscribe("/topic/a")
        client.send("/topic/a", b"x")
        self.assertEqual(client.next().body, b"x")

    def test_broker_beats(self):
        """STOMP 1.2 §Heart-beating: a line end at least every interval that was asked for."""
        client = self.keep(RawStomp(self.port))
        client.connect(("heart-beat", "0,500"))
        start = time.monotonic()
        while len(client.heartbeats) < 5:
            client.wait_heartbeat(2)
        took = time.monotonic() - start
        self.assertGreater(took, 0.5, "the line ends are no heart-beats, they come all the time")
        self.assertLess(took, 5)

    def test_silence_ends_the_connection(self):
        """STOMP 1.2 §Heart-beating: who promised to beat and does not is gone; tolerance is twice the interval."""
        client = self.keep(RawStomp(self.port))
        client.connect(("heart-beat", "500,0"))
        start = time.monotonic()
        client.read_eof(10)
        took = time.monotonic() - start
        self.assertGreater(took, 0.5)
        self.assertLess(took, 5)

    def test_line_ends_keep_the_connection(self):
        client = self.keep(RawStomp(self.port))
        client.connect(("heart-beat", "1000,0"))
        silent = self.keep(RawStomp(self.port))
        silent.connect(("heart-beat", "1000,0"))
        # The clock of this test is the second connection, which is closed for its silence.
        while True:
            client.send(b"\n")
            silent.socket.settimeout(0.3)
            try:
                if not silent.socket.recv(4096):
                    break
            except TimeoutError:
                pass
        client.request("SEND", ("destination", "/topic/a"))

    def test_no_promise_no_time_out(self):
        quiet = self.keep(RawStomp(self.port))
        quiet.connect(("heart-beat", "0,0"))
        other = self.keep(RawStomp(self.port))
        other.connect(("heart-beat", "500,0"))
        other.read_eof(10)
        quiet.request("SEND", ("destination", "/topic/a"))
        self.assertEqual(quiet.heartbeats, [])


if __name__ == "__main__":
    main()
