# SPDX-License-Identifier: Apache-2.0
"""@stomp/stompjs and rx-stomp in Node, over WebSocket and TCP, unchanged. The scenarios are in js/stomp_suite.mjs; here
are the brokers they need, and what the handshake lets in: STOMP by hand in ws.py's frames."""
import os
import shutil
import struct
import subprocess

from drivers import JS
from harness import DEADLINE_S, E2E, Process, free_port, main
from ws import BINARY, CLOSE, TEXT, RawWs

CONNECT = b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"


class StompJs(E2E):
    ARGS = None

    def suite(self, name, *lines):
        """Runs a scenario against a broker of its own, with these lines in its configuration."""
        if not os.path.isdir(os.path.join(JS, "node_modules", "@stomp", "rx-stomp")):
            raise FileNotFoundError("@stomp/stompjs is missing: `./dev test e2e/` installs it (npm ci in tests/e2e/js)")
        port = free_port()
        config = self.write("weir.conf", "\n".join(("listener %d 127.0.0.1" % port, *lines)) + "\n")
        broker = self.start("-c", config)
        node = Process([shutil.which("node") or "nodejs", os.path.join(JS, "stomp_suite.mjs"), name, str(port)],
                       stdin=subprocess.PIPE)
        self.processes.append(node)
        self.addCleanup(node.child.stdin.close)
        said = 0
        while True:
            word = self.word(node, said)
            if word != "? restart":
                break
            broker.stop()
            broker = self.start("-c", config)
            said += 1
            node.child.stdin.write(b"there\n")
            node.child.stdin.flush()
        self.assertEqual((word, node.wait()), ("done", 0), node.output())

    @staticmethod
    def word(node, number):
        """What the suite asks for or ends with: the line of that kind with this number, 0 the first."""
        def words():
            return [line.split(":")[0] for line in node.lines if line.startswith(("? restart", "done", "failed"))]
        with node.changed:
            node.changed.wait_for(lambda: node.ended or len(words()) > number, 3 * DEADLINE_S)
            assert len(words()) > number, "the suite says nothing more:\n" + node.output()
            return words()[number]

    def test_versions(self):
        self.suite("versions")

    def test_topics(self):
        self.suite("topics")

    def test_binary(self):
        self.suite("binary")

    def test_big(self):
        self.suite("big")

    def test_acks(self):
        self.suite("acks")

    def test_receipts(self):
        self.suite("receipts")

    def test_transactions(self):
        self.suite("transactions")

    def test_heartbeats(self):
        self.suite("heartbeats")

    def test_reconnect(self):
        self.suite("reconnect")

    def test_durable(self):
        self.suite("durable")

    def test_queues(self):
        self.suite("queues")

    def test_errors(self):
        self.suite("errors")

    def test_rx(self):
        self.suite("rx")

    def test_rpc(self):
        self.suite("rpc")

    def test_path(self):
        self.suite("path", "websockets_path /ws")


class ByHand(E2E):
    def ws(self, protocol="v12.stomp", **options):
        client = self.keep(RawWs(self.port))
        client.takes_text = True
        client.upgrade(protocol=protocol, path="/ws", **options)
        return client

    def test_subprotocols(self):
        for protocol in ("v12.stomp", "v11.stomp", "v10.stomp"):
            client = self.ws(protocol)
            client.frame(TEXT, CONNECT)
            final, opcode, payload = client.read_frame()
            self.assertEqual((final, opcode, payload[:10], payload[-1:]), (True, TEXT, b"CONNECTED\n", b"\0"))

    def test_none_at_all(self):
        """Who asks for no subprotocol gets what the first bytes claim: STOMP; MQTT must be asked for [MQTT-6.0.0-3]."""
        for kind in (TEXT, BINARY):
            client = self.ws(None)
            client.frame(kind, CONNECT)
            self.assertEqual(client.read_frame()[1:2], (kind,))
        client = self.ws(None)
        client.frame(BINARY, b"\x10\x0d\0\4MQTT\4\2\0\0\0\1a")
        self.assertEqual(client.read_close(), 1002)

    def test_origin(self):
        """The rules of MQTT in WebSockets hold for STOMP, too (test_ws.py)."""
        for origin in ("http://evil.example", "http://localhost:1", "null"):
            client = self.keep(RawWs(self.port))
            client.request(protocol="v12.stomp", more=(("Origin", origin),))
            self.assertEqual(client.read_response()[0], 403)
        for host in ("127.0.0.1:%d" % self.port, "localhost:%d" % self.port):
            self.ws(host=host, more=(("Origin", "http://" + host),))

    def test_text_that_is_none(self):
        """RFC 6455 §8.1: 1007, also where the fault is in a later fragment."""
        client = self.ws()
        client.frame(TEXT, CONNECT)
        client.read_frame()
        client.frame(TEXT, b"SEND\ndestination:/topic/a\n\n\xc3", final=False)
        client.frame(0, b"(\0")
        self.assertEqual(client.read_close(), 1007)

    def test_close(self):
        client = self.ws()
        client.frame(TEXT, CONNECT)
        client.read_frame()
        client.frame(TEXT, b"DISCONNECT\nreceipt:x\n\n\0")
        self.assertTrue(client.read_frame()[2].startswith(b"RECEIPT\n"))
        self.assertEqual(client.read_close(), 1000)
        client = self.ws()
        client.frame(CLOSE, struct.pack(">H", 1001))
        self.assertIn(client.read_close(), (1000, 1001))


if __name__ == "__main__":
    main()
