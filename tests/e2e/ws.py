# SPDX-License-Identifier: Apache-2.0
"""ws.py: WebSocket by hand (RFC 6455), for what real clients hide or cannot do.

    client = RawWs(port)
    client.upgrade()                        the handshake; or client.request(...) and client.read_response()
    client.frame(BINARY, b"...")            masked unless the test says otherwise
    client.read_frame()                     (final, opcode, payload); what a server must not send is an AssertionError

WsMqtt is RawMqtt inside a WebSocket: each send() is one binary frame.
"""
import base64
import hashlib
import os
import struct
import time

from raw import DEADLINE_S, HOST, Raw, RawMqtt

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_for(key):
    """What Sec-WebSocket-Accept must be for this Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()


def frame_bytes(opcode, payload=b"", final=True, mask=True, reserved=0):
    head = bytes([final << 7 | reserved << 4 | opcode])
    n, masked = len(payload), 128 if mask else 0
    if n < 126:
        head += bytes([masked | n])
    elif n < 65536:
        head += bytes([masked | 126]) + struct.pack(">H", n)
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    pad = (key * (n // 4 + 1))[:n]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(n, "big")


class RawWs(Raw):
    takes_text = False  # text is a failure, as for MQTT [MQTT-6.0.0-1]; STOMP's tests set it

    def __init__(self, port, host=HOST):
        super().__init__(port, host)
        self.key = base64.b64encode(os.urandom(16))
        self.host = "%s:%s" % (host, port)

    def request_bytes(self, protocol="mqtt", path="/mqtt", method="GET", version="13", upgrade="websocket",
                      connection="Upgrade", key=True, host=True, more=()):
        """The request; a header whose value is None is left out."""
        headers = [("Host", (self.host if host is True else host)), ("Upgrade", upgrade), ("Connection", connection),
                   ("Sec-WebSocket-Key", self.key.decode() if key is True else key), ("Sec-WebSocket-Version", version),
                   ("Sec-WebSocket-Protocol", protocol), *more]
        lines = ["%s %s HTTP/1.1" % (method, path)] + ["%s: %s" % pair for pair in headers if pair[1] is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def request(self, **options):
        self.send(self.request_bytes(**options))

    def read_response(self, deadline_s=DEADLINE_S):
        """(status, {header: value} in lower case); the body, if any, stays in the buffer."""
        end = time.monotonic() + deadline_s
        while b"\r\n\r\n" not in self.buffer:
            assert self.fill(end, "an HTTP response"), "the connection ended instead of a response: %r" % self.buffer
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("ascii").split("\r\n")
        assert first.startswith("HTTP/1.1 "), first
        pairs = [line.split(":", 1) for line in lines]
        return int(first.split()[1]), {name.strip().lower(): value.strip() for name, value in pairs}

    def upgrade(self, protocol="mqtt", **options):
        self.request(protocol=protocol, **options)
        status, headers = self.read_response()
        assert status == 101, (status, headers, self.buffer)
        assert headers["upgrade"].lower() == "websocket" and headers["connection"].lower() == "upgrade", headers
        assert headers["sec-websocket-accept"] == accept_for(self.key), headers
        assert headers.get("sec-websocket-protocol") == protocol, headers  # [MQTT-6.0.0-4]
        return headers

    def frame(self, opcode, payload=b"", **options):
        self.send(frame_bytes(opcode, payload, **options))

    def read_frame(self, end=None):
        """(final, opcode, payload) of the next frame, which must be well-formed and unmasked."""
        end = end or time.monotonic() + DEADLINE_S
        self.need(2, end, "a frame")
        assert not self.buffer[0] & 0x70, "reserved bits: %r" % self.buffer[:10]
        assert not self.buffer[1] & 0x80, "a server must not mask: %r" % self.buffer[:10]
        n, at = self.buffer[1] & 127, 2
        if n >= 126:
            at = 4 if n == 126 else 10
            self.need(at, end, "a frame's length")
            n = int.from_bytes(self.buffer[2:at], "big")
            assert n > (125 if at == 4 else 65535), "not the shortest length: %r" % self.buffer[:10]
        self.need(at + n, end, "a frame")
        raw = self.eat(at + n)
        opcode = raw[0] & 15
        assert opcode in (CONTINUATION, BINARY, CLOSE, PING, PONG) or (opcode == TEXT and self.takes_text), \
            "opcode %d" % opcode  # [MQTT-6.0.0-1]
        if opcode == TEXT and raw[0] & 128:
            raw[at:].decode("utf-8")  # RFC 6455 §5.6
        assert opcode < 8 or (raw[0] & 128 and n <= 125), "a control frame in pieces, or too long"
        return bool(raw[0] & 128), opcode, raw[at:]

    def read_close(self):
        """The code of the close frame that comes next but for data; behind it the connection must end."""
        while True:
            _, opcode, payload = self.read_frame()
            if opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big") if payload else None
                rest = self.read_eof()
                assert not rest, "something behind the close frame: %r" % rest
                return code


class WsMqtt(RawMqtt):
    """MQTT by hand inside a WebSocket."""

    def __init__(self, port, level=4, **upgrade):
        super().__init__(port, level)
        self.ws = RawWs.__new__(RawWs)  # the frames, over our own socket
        self.ws.socket, self.ws.buffer = self.socket, b""
        self.ws.key, self.ws.host = base64.b64encode(os.urandom(16)), "%s:%s" % (HOST, port)
        self.ws.upgrade(**upgrade)

    def send(self, data):
        self.ws.frame(BINARY, data)

    def fill(self, end, what):
        while True:
            if not self.ws.buffer and not self.ws.fill(end, what):
                return b""
            final, opcode, payload = self.ws.read_frame(end)
            if opcode == CLOSE:
                return b""
            if opcode in (BINARY, CONTINUATION) and payload:
                self.buffer += payload
                return payload
