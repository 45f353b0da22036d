# SPDX-License-Identifier: Apache-2.0
"""script.py: conversations as text, played against a broker: what the fenced blocks of docs/*.md are written in.

    web > SEND  destination:/queue/jobs  "resize 17"
    worker > SUBSCRIBE  destination:/queue/jobs  id:0  ack:client-individual
    worker < MESSAGE  destination:/queue/jobs  ack:$job  -redelivered  "resize 17"
    worker > ACK  id:$job

One frame per line, its parts two blanks apart: who, the direction, the command; headers; the body in quotes.

    NAME > FRAME    NAME sends it. Peers connect when they are first met, with STOMP 1.2, unless that is by CONNECT; those whose
                    name begins with `device` are MQTT 5 clients: SUBSCRIBE topic: qos:, PUBLISH topic: qos: retain: ... "payload"
    NAME < FRAME    the next frame NAME reads is this one: with at least these headers and, if there is one, this body
    NAME < nothing  nothing was sent to NAME so far but what was shown
    NAME > bye      NAME's connection is cut, without a goodbye
    NAME < end      the broker ends it
    -header         not there;  header:$x in `<` notes the value (or compares it, the second time), in `>` puts it in
    (after 200 ms)  it came no earlier than that after the line before began
    # ...           a remark

Every frame that is sent without a receipt header gets one that the text does not show, and the next line begins when
its RECEIPT (or an ERROR) is there: so what the peers do is in one order. When the script ends nobody may have got
anything that was not shown.
"""
import re
import time

from harness import V5, Mqtt
from raw import RawStomp

STEP_S = 10   # for one frame
CLOCK_MS = 2  # the broker's clock has milliseconds, and ours another beginning

LINE = re.compile(r"(\w+) ([<>]) (\S+)(?:  (.*))?$")
AFTER = re.compile(r"\(after (\d+) ms\)$")
PROPERTIES = {"content-type": "ContentType", "response-topic": "ResponseTopic", "correlation-data": "CorrelationData",
              "expiry": "MessageExpiryInterval"}


class Step:
    """One line, taken apart."""

    def __init__(self, text, number):
        self.text, self.number = text, number
        match = LINE.match(text)
        if not match:
            raise SyntaxError("line %d: not of the form NAME > FRAME: %r" % (number, text))
        self.who, way, self.command, rest = match.groups()
        self.sends = way == ">"
        self.headers, self.absent, self.body, self.after_ms = [], [], None, 0
        if rest and rest.endswith('"'):
            rest, self.body = rest[:-1].split('"', 1)
        for part in re.split(r" {2,}", (rest or "").strip()):
            self.take(part)

    def take(self, part):
        after = AFTER.match(part)
        if after:
            self.after_ms = int(after.group(1))
        elif part.startswith("-") and ":" not in part:
            self.absent.append(part[1:])
        elif part:
            name, colon, value = part.partition(":")
            if not colon:
                raise SyntaxError("line %d: %r is no header" % (self.number, part))
            self.headers.append((name, value))

    def payload(self):
        return (self.body or "").encode()


class StompPeer:
    def __init__(self, port):
        self.raw, self.inbox, self.number = RawStomp(port), [], 0

    def connect(self):
        self.raw.connect()

    def send(self, step, headers):
        receipt = next((value for name, value in headers if name == "receipt"), None)
        shown = receipt is not None
        if not shown and step.command not in ("CONNECT", "STOMP"):
            self.number += 1
            receipt = "unseen-%d" % self.number
            headers = headers + [("receipt", receipt)]
        self.raw.frame(step.command, *headers, body=step.payload())
        if receipt:
            self.wait_receipt(receipt, shown)

    def wait_receipt(self, receipt, shown):
        """Until that RECEIPT, or an ERROR; what comes before it waits in the inbox."""
        while True:
            try:
                got = self.raw.read()
            except EOFError:
                raise AssertionError("the connection has ended; unread: %r" % self.inbox) from None
            is_it = got.command == "RECEIPT" and got["receipt-id"] == receipt
            if shown or not is_it:
                self.inbox.append(got)
            if is_it or got.command == "ERROR":
                return

    def read(self):
        return self.inbox.pop(0) if self.inbox else self.raw.read(deadline_s=STEP_S)

    def check(self, step, seen):
        """The next frame is the one of this step."""
        got = self.read()
        assert got.command == step.command, "%r came instead" % got
        for name, value in step.headers:
            there = got[name]
            if value.startswith("$"):
                value = seen.setdefault(value[1:], there)
            assert there is not None and there == value, "%s is %r in %r" % (name, there, got)
        for name in step.absent:
            assert got[name] is None, "%s is there in %r" % (name, got)
        if step.body is not None:
            assert got.body == step.payload(), "the body is %r in %r" % (got.body, got)

    def quiet(self):
        """A round trip. Nothing may wait behind it."""
        self.number += 1
        receipt = "unseen-%d" % self.number
        self.raw.frame("SEND", ("destination", "/topic/nobody/%s" % receipt), ("receipt", receipt))
        self.wait_receipt(receipt, False)
        assert not self.inbox, "unexpected: %r" % self.inbox

    def end(self):
        rest = self.raw.read_eof()
        assert not self.inbox and not rest.strip(b"\r\n"), "before the end: %r %r" % (self.inbox, rest)

    def close(self):
        self.raw.close()


class DevicePeer:
    """An MQTT 5 client."""

    def __init__(self, port, name):
        self.name, self.mqtt = name, Mqtt(port, name, version=V5, start=False)

    def connect(self):
        self.mqtt.connect()

    def send(self, step, headers):
        said = dict(headers)
        topic, qos = said.pop("topic"), int(said.pop("qos", 1))
        if step.command == "SUBSCRIBE":
            granted = self.mqtt.subscribe(topic, qos)
            assert granted == qos, "SUBACK says %d" % granted
            return
        assert step.command == "PUBLISH", "a device does not say " + step.command
        retain = said.pop("retain", "0") == "1"
        more = {PROPERTIES[name]: said.pop(name) for name in list(said) if name in PROPERTIES}
        if "CorrelationData" in more:
            more["CorrelationData"] = more["CorrelationData"].encode()
        if "MessageExpiryInterval" in more:
            more["MessageExpiryInterval"] = int(more["MessageExpiryInterval"])
        if said:
            more["UserProperty"] = list(said.items())
        self.mqtt.publish(topic, step.payload(), qos, retain, **more)

    @staticmethod
    def headers_of(message):
        got = {"topic": message.topic, "qos": str(message.qos), "retain": str(int(message.retain))}
        for name, attribute in PROPERTIES.items():
            value = getattr(message.properties, attribute, None)
            if value is not None:
                got[name] = value.decode() if isinstance(value, bytes) else str(value)
        return dict(getattr(message.properties, "UserProperty", []), **got)

    def check(self, step, seen):
        assert step.command == "PUBLISH", "a device reads nothing but PUBLISH"
        message = self.mqtt.next(STEP_S)
        got = self.headers_of(message)
        for name, value in step.headers:
            if value.startswith("$"):
                value = seen.setdefault(value[1:], got.get(name))
            assert name in got and got[name] == value, "%s is %r in %r" % (name, got.get(name), got)
        for name in step.absent:
            assert name not in got, "%s is there in %r" % (name, got)
        if step.body is not None:
            assert message.payload == step.payload(), "the payload is %r" % message.payload

    def quiet(self):
        """The device writes to itself: that comes next."""
        own = "nobody/" + self.name
        self.mqtt.subscribe(own, 1)
        self.mqtt.publish(own, b"", 1)
        got = self.mqtt.next()
        assert got.topic == own, "unexpected: %s %r" % (got.topic, got.payload)

    def end(self):
        self.mqtt.wait_end()

    def close(self):
        self.mqtt.close()


class Player:
    """Plays scripts against the broker at `port`."""

    def __init__(self, port):
        self.port, self.peers, self.seen = port, {}, {}

    def peer(self, step):
        if step.who in self.peers:
            return self.peers[step.who]
        is_device = step.who.startswith("device")
        peer = self.peers[step.who] = DevicePeer(self.port, step.who) if is_device else StompPeer(self.port)
        if step.command not in ("CONNECT", "STOMP"):
            peer.connect()
        return peer

    def put_in(self, value):
        return re.sub(r"\$(\w+)", lambda match: self.seen.get(match.group(1), match.group()), value)

    def leave(self, step, peer):
        if step.sends:
            peer.quiet()
        else:
            peer.end()
        peer.close()
        del self.peers[step.who]

    def step(self, step):
        peer = self.peer(step)
        if step.command in ("bye", "end"):
            self.leave(step, peer)
        elif step.command == "nothing":
            peer.quiet()
        elif step.sends:
            peer.send(step, [(name, self.put_in(value)) for name, value in step.headers])
        else:
            peer.check(step, self.seen)

    def play(self, text):
        steps = [Step(line, i + 1) for i, line in enumerate(text.split("\n")) if line.strip() and line[0] != "#"]
        before = time.monotonic()
        for step in steps:
            start = time.monotonic()
            try:
                self.step(step)
            except Exception as problem:
                raise AssertionError("line %d: %s\n    %s" % (step.number, step.text, problem)) from problem
            took_ms = (time.monotonic() - before) * 1000
            assert took_ms >= step.after_ms - CLOCK_MS, "line %d: %s\n    after %d ms already" % (step.number, step.text, took_ms)
            before = start
        for name, peer in self.peers.items():
            try:
                peer.quiet()
            except Exception as problem:
                raise AssertionError("at the end, %s: %s" % (name, problem)) from problem

    def close(self):
        for peer in self.peers.values():
            peer.close()


FENCE = re.compile(r"^```stomp *([^\n]*)\n(.*?)^```$", re.M | re.S)
HEADING = re.compile(r"^#+ (.*)$", re.M)


def blocks(text):
    """(heading it stands under, configuration lines of its info string, script) of every fenced block."""
    found = []
    for match in FENCE.finditer(text):
        headings = HEADING.findall(text[:match.start()])
        config = [part.replace("=", " ", 1) for part in match.group(1).split()]
        found.append((headings[-1] if headings else "", config, match.group(2)))
    return found
