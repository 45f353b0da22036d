# SPDX-License-Identifier: Apache-2.0
"""What the configuration says about STOMP: topic_dialect, stomp_strict_host, the limits of transactions."""
from harness import E2E, main
from raw import RawStomp


class Options(E2E):
    ARGS = None

    def begin(self, *lines):
        self.port = self.start("-c", self.write("weir.conf", "\n".join(("listener 0 127.0.0.1", *lines)) + "\n")).port

    def stomp(self, version="1.2"):
        return self.keep(RawStomp(self.port, version))

    def test_dialects(self):
        """What separates levels in /topic/: seen by an MQTT subscriber, and by a /mqtt/ one."""
        for dialect, expected in (("merged", {"a.b": "a/b", "a/b": "a/b"}), ("amqp", {"a.b": "a/b", "a*": "a*"}),
                                  ("mqtt", {"a.b": "a.b", "a/b": "a/b"})):
            with self.subTest(dialect=dialect):
                self.begin("topic_dialect " + dialect)
                device = self.mqtt("device-" + dialect)
                device.subscribe("#", 1)
                peer = self.stomp()
                peer.connect()
                peer.request("SUBSCRIBE", ("destination", "/mqtt/#"), ("id", "0"))
                for key, topic in expected.items():
                    peer.frame("SEND", ("destination", "/topic/" + key), body=b"x")
                    self.assertEqual(peer.read("MESSAGE").body, b"x")
                    self.assertEqual(device.next().topic, topic)

    def test_amqp_refuses_a_slash(self):
        """With '.' alone a '/' inside a level could be no MQTT topic."""
        self.begin("topic_dialect amqp")
        peer = self.stomp()
        peer.connect()
        peer.frame("SEND", ("destination", "/topic/a/b"), body=b"x")
        self.assertEqual(peer.read("ERROR")["x-code"], "bad-destination")

    def test_strict_host(self):
        self.begin("stomp_strict_host true")
        for host in ("/", "localhost", "127.0.0.1"):
            peer = self.stomp()
            peer.frame("CONNECT", ("accept-version", "1.2"), ("host", host))
            peer.read("CONNECTED")
        for headers in ((("host", "elsewhere.example"),), ()):
            peer = self.stomp()
            peer.frame("CONNECT", ("accept-version", "1.2"), *headers)
            peer.read("ERROR")
            peer.read_eof()
        self.begin()
        peer = self.stomp()
        peer.frame("CONNECT", ("accept-version", "1.2"), ("host", "elsewhere.example"))
        peer.read("CONNECTED")

    def test_transaction_limits(self):
        self.begin("stomp_max_transactions 2", "stomp_max_transaction_actions 3")
        peer = self.stomp()
        peer.connect()
        for name in ("a", "b"):
            peer.request("BEGIN", ("transaction", name))
        peer.frame("BEGIN", ("transaction", "c"))
        self.assertEqual(peer.read("ERROR")["x-code"], "limit")
        peer = self.stomp()
        peer.connect()
        peer.request("BEGIN", ("transaction", "a"))
        for _ in range(3):
            peer.request("SEND", ("destination", "/topic/t"), ("transaction", "a"))
        peer.frame("SEND", ("destination", "/topic/t"), ("transaction", "a"))
        self.assertEqual(peer.read("ERROR")["x-code"], "limit")


if __name__ == "__main__":
    main()
