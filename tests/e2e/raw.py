# SPDX-License-Identifier: Apache-2.0
"""raw.py: the two protocols by hand, for what real clients hide or cannot do.

RawMqtt and RawStomp send exactly what a test says and read strictly: a frame that breaks the specification is an
AssertionError at the place where it was read. One thread; every read has a deadline.
"""
import os
import socket
import struct
import time

DEADLINE_S = 20
HOST = "127.0.0.1"


# What tests have used, so that a broker that outlives them can be left as it was found (harness.Given).
seen_ids, seen_queues, seen_exchanges = set(), set(), set()


class Raw:
    """A socket and what has been read from it but not used. `port` is a number, or the path of a unix socket."""

    def __init__(self, port, host=HOST):
        if isinstance(port, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(DEADLINE_S)
            self.socket.connect(port)
        else:
            self.socket = socket.create_connection((host, port), DEADLINE_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def send_slowly(self, data, step=1):
        """In pieces of `step` bytes, each its own packet as far as the kernel allows."""
        for i in range(0, len(data), step):
            self.socket.sendall(data[i:i + step])

    def fill(self, end, what):
        """Reads some more; b"" at the end of the stream. Fails at the deadline."""
        self.socket.settimeout(max(end - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise TimeoutError("nothing more to read while waiting for %s; so far %r" % (what, self.buffer[:200])) from None
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return data

    def need(self, n, end, what):
        while len(self.buffer) < n:
            if not self.fill(end, what):
                raise EOFError("the connection ended while waiting for %s; so far %r" % (what, self.buffer[:200]))

    def eat(self, n):
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_eof(self, deadline_s=DEADLINE_S):
        """Everything up to the end of the stream, which must come before the deadline."""
        end = time.monotonic() + deadline_s
        while self.fill(end, "the end of the connection"):
            pass
        return self.eat(len(self.buffer))

    def close(self):
        self.socket.close()


# ------------------------------------------------------------------------------------------------ MQTT

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, \
    PINGRESP, DISCONNECT, AUTH = range(1, 16)


def varint(n):
    out = b""
    while True:
        n, byte = n >> 7, n & 127
        out += bytes([byte | (128 if n else 0)])
        if not n:
            return out


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind, body, flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


class Packet:
    def __init__(self, first, body):
        self.kind, self.flags, self.body = first >> 4, first & 15, body

    def __repr__(self):
        return "Packet(kind=%d flags=%d body=%r)" % (self.kind, self.flags, self.body[:80])


def mqtt_connect(level, client_id, clean=True, keepalive=60, expiry_s=None, will=None, props=b""):
    """A CONNECT packet; will is (topic, payload, qos, retain); props are more MQTT 5 properties in wire form."""
    seen_ids.add(client_id)
    flags, none = 2 if clean else 0, b"\0" if level == 5 else b""
    if expiry_s is not None:
        props += b"\x11" + struct.pack(">I", expiry_s)
    props = varint(len(props)) + props if level == 5 else b""
    payload = text(client_id)
    if will:
        topic, message, qos, retain = will
        flags |= 4 | qos << 3 | retain << 5
        payload += none + text(topic) + text(message)
    name = text("MQIsdp") if level == 3 else text("MQTT")
    return packet(CONNECT, name + bytes([level, flags]) + struct.pack(">H", keepalive) + props + payload)


class RawMqtt(Raw):
    """MQTT 3.1.1 (level 4) or 5. Properties are bytes in wire form, as in the packet but without their length."""

    def __init__(self, port, level=4):
        super().__init__(port)
        self.level = level
        self.props = b""  # of the PUBLISH read last

    def none(self):
        return b"\0" if self.level == 5 else b""  # no properties

    def connect_packet(self, client_id, **options):
        return mqtt_connect(self.level, client_id, **options)

    def connect(self, client_id, **options):
        """Session present; the CONNACK must accept."""
        self.send(self.connect_packet(client_id, **options))
        connack = self.read(CONNACK)
        assert connack.body[1] == 0, connack
        return bool(connack.body[0] & 1)

    def read(self, kind=None, deadline_s=DEADLINE_S):
        """The next packet, which must be of that kind if one is named."""
        end = time.monotonic() + deadline_s
        what = "an MQTT packet of kind %s" % kind
        self.need(2, end, what)
        length, shift, i = 0, 0, 1
        while True:
            self.need(i + 1, end, what)
            length |= (self.buffer[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if not self.buffer[i - 1] & 128:
                break
            assert shift < 28, "a remaining length of more than four bytes"
        self.need(i + length, end, what)
        raw = self.eat(i + length)
        got = Packet(raw[0], raw[i:])
        if kind is not None:
            assert got.kind == kind, "%r, but kind %d was expected" % (got, kind)
        return got

    def publish(self, topic, payload, qos=0, packet_id=0, dup=0, retain=0, props=b""):
        body = text(topic) + (struct.pack(">H", packet_id) if qos else b"")
        body += (varint(len(props)) + props if self.level == 5 else b"") + payload
        self.send(packet(PUBLISH, body, dup << 3 | qos << 1 | retain))

    def subscribe(self, filter, qos, packet_id=1):
        self.send(packet(SUBSCRIBE, struct.pack(">H", packet_id) + self.none() + text(filter) + bytes([qos]), 2))
        suback = self.read(SUBACK)
        assert suback.body[:2] == struct.pack(">H", packet_id) and suback.body[-1] == qos, suback

    def ack(self, kind, packet_id):
        self.send(packet(kind, struct.pack(">H", packet_id), 2 if kind == PUBREL else 0))

    def read_ack(self, kind):
        """The packet id of the next packet, which must be that acknowledgement and not say no."""
        got = self.read(kind)
        assert len(got.body) == 2 or got.body[2] < 0x80, got
        return struct.unpack(">H", got.body[:2])[0]

    def read_publish(self, deadline_s=DEADLINE_S):
        """(topic, payload, qos, dup, packet id) of the next packet, which must be a PUBLISH."""
        got = self.read(PUBLISH, deadline_s)
        n = struct.unpack(">H", got.body[:2])[0]
        topic, rest, qos = got.body[2:2 + n].decode(), got.body[2 + n:], got.flags >> 1 & 3
        packet_id = 0
        if qos:
            packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
        if self.level == 5:
            assert rest[0] < 128, "the test reads short properties only"
            self.props, rest = rest[1:1 + rest[0]], rest[1 + rest[0]:]
        return topic, rest, qos, got.flags >> 3, packet_id

    def ping(self):
        """A round trip: everything sent before has been read by the broker."""
        self.send(packet(PINGREQ, b""))
        self.read(PINGRESP)

    def disconnect(self):
        """DISCONNECT, and the broker's end of the connection."""
        self.send(packet(DISCONNECT, b""))
        self.read_eof()
        self.close()


# ------------------------------------------------------------------------------------------------ STOMP

ESCAPES = {"1.0": {}, "1.1": {"n": "\n", "c": ":", "\\": "\\"}, "1.2": {"n": "\n", "c": ":", "\\": "\\", "r": "\r"}}
WITH_BODY = ("MESSAGE", "ERROR")


def escape(value, version="1.2"):
    for letter, char in sorted(ESCAPES[version].items(), key=lambda item: item[1] != "\\"):
        value = value.replace(char, "\\" + letter)
    return value


def unescape(value, version):
    if version == "1.0":
        return value
    out, i = "", 0
    while i < len(value):
        if value[i] == "\\":
            assert value[i + 1:i + 2] in ESCAPES[version], "undefined escape in %r" % value
            out += ESCAPES[version][value[i + 1]]
            i += 2
        else:
            assert value[i] not in ":\r", "unescaped character in %r" % value
            out += value[i]
            i += 1
    return out


def frame(command, headers=(), body=b"", version="1.2", eol="\n"):
    """A frame in wire form; headers are pairs and are escaped but for CONNECT."""
    plain = command in ("CONNECT", "STOMP")
    lines = [command]
    for name, value in headers:
        lines.append("%s:%s" % ((name, value) if plain else (escape(name, version), escape(value, version))))
    return eol.join(lines + ["", ""]).encode() + body + b"\0"


class Frame:
    def __init__(self, command, headers, body):
        self.command, self.headers, self.body = command, headers, body

    def __getitem__(self, name):
        """The first header of that name, or None. STOMP 1.2 §Repeated Header Entries"""
        return next((value for key, value in self.headers if key == name), None)

    def __repr__(self):
        return "%s %r %r" % (self.command, self.headers, self.body[:80])


class RawStomp(Raw):
    def __init__(self, port, version="1.2"):
        super().__init__(port)
        self.version = version
        self.heartbeats = []  # when each line end between frames was read, monotonic
        self.behind_frame = False  # one line end may follow a frame's NUL; it is no heart-beat

    def frame(self, command, *headers, body=b"", eol="\n"):
        see_headers(headers)
        self.send(frame(command, headers, body, self.version, eol))

    def connect(self, *headers):
        """The CONNECTED frame."""
        if self.version == "1.0":
            self.frame("CONNECT", *headers)
        else:
            self.frame("CONNECT", ("accept-version", self.version), ("host", "localhost"), *headers)
        connected = self.read("CONNECTED")
        assert connected["version"] == self.version or self.version == "1.0" and not connected["version"], connected
        return connected

    def eat_line_ends(self):
        """Takes the heart-beats off the front; True if the first byte of a frame is there then."""
        while self.buffer[:1] == b"\n" or self.buffer[:2] == b"\r\n":
            self.eat(1 if self.buffer[:1] == b"\n" else 2)
            if self.behind_frame:
                self.behind_frame = False
            else:
                self.heartbeats.append(time.monotonic())
        return bool(self.buffer) and self.buffer != b"\r"

    def wait_heartbeat(self, deadline_s=DEADLINE_S):
        """Reads until one more heart-beat is there; a frame instead of it is an error."""
        end, before = time.monotonic() + deadline_s, len(self.heartbeats)
        while len(self.heartbeats) == before:
            assert self.fill(end, "a heart-beat"), "the connection ended instead of a heart-beat"
            assert not self.eat_line_ends(), "%r instead of a heart-beat" % self.buffer[:100]

    def read(self, command=None, deadline_s=DEADLINE_S):
        """The next frame, which must be that command if one is named."""
        end = time.monotonic() + deadline_s
        what = command or "a STOMP frame"
        while not self.eat_line_ends():
            if not self.fill(end, what):
                raise EOFError("the connection ended while waiting for " + what)
        while b"\n\n" not in self.buffer:
            if not self.fill(end, what):
                raise EOFError("the connection ended inside a frame: %r" % self.buffer[:200])
        head, self.buffer = self.buffer.split(b"\n\n", 1)
        lines = head.decode("utf-8").split("\n")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name, "not a header line: %r" % line
            if lines[0] != "CONNECTED":  # STOMP 1.2 §Value Encoding: CONNECTED is never escaped
                name, value = unescape(name, self.version), unescape(value, self.version)
            headers.append((name, value))
        got = Frame(lines[0], headers, b"")
        length = got["content-length"]
        if length is not None:
            n = int(length)
            self.need(n + 1, end, what)
            got.body = self.eat(n)
            assert self.eat(1) == b"\0", "content-length %d does not end at a NUL: %r" % (n, got)
        else:
            while b"\0" not in self.buffer:
                assert self.fill(end, what), "the connection ended inside a body"
            got.body, self.buffer = self.buffer.split(b"\0", 1)
        self.behind_frame = True
        assert got.command in WITH_BODY or not got.body, "%s with a body" % got.command
        if command is not None:
            assert got.command == command, "%r, but %s was expected" % (got, command)
        return got

    def request(self, command, *headers, body=b""):
        """A frame with a receipt, and its RECEIPT, which must be the next frame."""
        receipt = os.urandom(4).hex()
        self.frame(command, *headers, ("receipt", receipt), body=body)
        got = self.read("RECEIPT")
        assert got["receipt-id"] == receipt, got

    def read_error(self):
        """The ERROR frame, behind which the broker ends the connection. STOMP 1.2 §ERROR"""
        error = self.read("ERROR")
        assert error["message"], "an ERROR without a message header: %r" % error
        rest = self.read_eof()
        assert not rest.strip(b"\r\n"), "something behind ERROR: %r" % rest
        return error


# ------------------------------------------------------------------------------------------------ leaving no trace

def see_headers(headers):
    """Queues and exchanges that a frame may make, from its (name, value) pairs."""
    for name, value in headers:
        if name == "destination" and value.startswith("/queue/"):
            seen_queues.add(value[len("/queue/"):])
        elif name in ("queue", "x-queue-name"):
            seen_queues.add(value)
        elif name == "exchange" and not value.startswith("amq."):
            seen_exchanges.add(value)


def forget_sessions(port, client_ids):
    """Ends the sessions of these client ids, whoever owns them. [MQTT-3.1.2-6]"""
    for client_id in sorted(filter(None, client_ids), key=str):
        client = RawMqtt(port)
        client.connect(client_id, clean=True)
        client.disconnect()


QUIET_N = 20  # round trips without a message, after which there is none to come


def clear_retained(port):
    """Clears every retained message that '#' matches. Nothing marks the end of what a new subscription gets, and answers
    overtake it; but it comes with every turn of the broker, so that some quiet round trips are the end."""
    client = RawMqtt(port)
    client.connect("tidy")
    client.send(packet(SUBSCRIBE, b"\0\1" + text("#") + b"\0", 2) + packet(PINGREQ, b""))
    quiet = 0
    while quiet < QUIET_N:
        got = client.read()
        if got.kind == PUBLISH:
            quiet = 0
            if got.flags & 1:
                topic = got.body[2:2 + struct.unpack(">H", got.body[:2])[0]]
                client.publish(topic, b"", 0, retain=1)
        elif got.kind == PINGRESP:
            quiet += 1
            client.send(packet(PINGREQ, b""))
    client.send(packet(DISCONNECT, b""))
    client.read_eof()
    client.close()


def delete_all(port, queues, exchanges):
    """Deletes those of them that are there."""
    client = None
    for kind, names in (("queue", queues), ("exchange", exchanges)):
        for name in sorted(filter(None, names)):
            if client is None:
                client = RawStomp(port)
                client.connect()
            client.frame("SEND", ("destination", "/manage/delete-" + kind), (kind, name), ("receipt", "gone"))
            if client.read().command == "ERROR":
                client.close()
                client = None
    if client:
        client.close()
