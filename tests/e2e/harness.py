# SPDX-License-Identifier: Apache-2.0
"""harness.py: what every end-to-end test stands on.

A test starts the real binary on a free port, talks to it through real clients, and stops it:

    class Example(E2E):
        def test_something(self):
            sub = self.mqtt("sub")
            sub.subscribe("a/#", qos=1)
            self.mqtt("pub").publish("a/b", b"hello", qos=1)
            self.assertEqual(sub.next().payload, b"hello")

Habits
  1. Nothing sleeps to let something happen: everything waits for an event with a deadline (DEADLINE_S). That
     something does NOT come is shown by a later message of the same publisher that does.
  2. Every test has its own broker, its own directory and a time-out (TEST_S).
  3. The broker must stop on SIGTERM with exit code 0 within STOP_S, and must not have printed a sanitizer's report.
     Both are checked after every test. When a test fails, its broker's log is shown.

Environment
  WEIR_BIN             the binary; build/dev/weir if unset
  WEIR_STOP_S          seconds to stop in: 1 for a release binary, 5 if unset (sanitizers are slow to leave)
  WEIR_BROKER          pid,port of a running broker with the default configuration (garbage.py has one): tests that would start
                       such a broker use this one, and tidy up behind themselves; the others start their own as ever
  WEIR_E2E_PEER        `mosquitto`: run the tests marked @mqtt_only against mosquitto instead. A way to test these tests:
                       what they demand of MQTT must hold for another broker too.
"""
import os
import queue
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
import stomp

import raw

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEIR_BIN = os.environ.get("WEIR_BIN") or os.path.join(ROOT, "build", "dev", "weir")
PEER = os.environ.get("WEIR_E2E_PEER", "")
GIVEN = os.environ.get("WEIR_BROKER", "")
STOP_S = float(os.environ.get("WEIR_STOP_S") or 5)
DEADLINE_S = 20  # for one event
TEST_S = 90      # for one test, unless it says otherwise
HOST = "127.0.0.1"

V31, V311, V5 = paho.MQTTv31, paho.MQTTv311, paho.MQTTv5
# Some tests open a thousand connections; the broker inherits the limit.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))

VERSIONS = (V31, V311, V5)

REPORTS = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:|BUG_ON")
LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|0\.0\.0\.0):(\d+)")


class TimeOut(Exception):
    pass


def wait_for(what, ready, deadline_s=DEADLINE_S):
    """For the rare state that has no event to wait on: asks every 5 ms, fails with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while not ready():
        if time.monotonic() > end:
            raise TimeOut("after %g s still waiting for %s" % (deadline_s, what))
        time.sleep(0.005)


def free_port():
    """A port nobody listens on just now, for the few tests that must name one in a configuration."""
    with socket.socket() as s:
        s.bind((HOST, 0))
        return s.getsockname()[1]


# ------------------------------------------------------------------------------------------------ the broker

class Process:
    """A child whose output is read by a thread line by line; wait_line() waits for one."""

    def __init__(self, argv, env=None, stdin=None):
        self.argv, self.lines = argv, []
        self.changed = threading.Condition()
        self.ended = False
        self.child = subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, env=dict(os.environ, **(env or {})))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            with self.changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_line(self, pattern, deadline_s=DEADLINE_S):
        """The match of the first line (of all so far and to come) that has the pattern."""
        end = time.monotonic() + deadline_s
        seen = 0
        with self.changed:
            while True:
                for line in self.lines[seen:]:
                    match = re.search(pattern, line)
                    if match:
                        return match
                seen = len(self.lines)
                if self.ended or time.monotonic() > end:
                    raise TimeOut("%s %s without a line like %r:\n%s" % (
                        " ".join(self.argv), "ended" if self.ended else "waits", pattern, self.output()))
                self.changed.wait(0.5)

    def wait(self, deadline_s=DEADLINE_S):
        """Exit code; the whole output is there afterwards."""
        try:
            code = self.child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise TimeOut("%s has not ended after %g s:\n%s" % (" ".join(self.argv), deadline_s, self.output()))
        self.reader.join(DEADLINE_S)
        return code

    def output(self):
        return "\n".join(self.lines)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.reader.join(DEADLINE_S)
        self.child.stdout.close()


class Broker(Process):
    """A running broker. `port` is its first listener on IPv4."""

    def __init__(self, args=("-p", "0"), directory=None):
        if PEER == "mosquitto":
            self.port = free_port()
            config = os.path.join(directory, "mosquitto.conf")
            with open(config, "w") as file:
                file.write("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n" % self.port)
            super().__init__([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-v", "-c", config])
            self.wait_line("running")
        else:
            if not os.access(WEIR_BIN, os.X_OK):
                raise FileNotFoundError("no broker at %s: build it with `./dev test` or name one in WEIR_BIN" % WEIR_BIN)
            super().__init__([WEIR_BIN, *args], env={
                "ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"})
            try:
                self.port = int(self.wait_line(LISTENING).group(1))
            except TimeOut:
                self.kill()
                raise
        self.stopped = False

    def ports(self):
        """The ports of all listeners it has announced so far."""
        return [int(match.group(1)) for match in map(LISTENING.search, self.lines) if match]

    def stop(self, how=signal.SIGTERM):
        """Stops it and checks how it went. A second call does nothing."""
        if self.stopped:
            return
        self.stopped = True
        start = time.monotonic()
        early = self.child.poll() is not None
        if not early:
            self.child.send_signal(how)
        try:
            code = self.wait(STOP_S)
        except TimeOut:
            raise AssertionError("the broker has not stopped within %g s of signal %d" % (STOP_S, how))
        finally:
            self.kill()
        report = REPORTS.search(self.output())
        assert not report, "the broker printed a report: " + report.group(0)
        assert not early, "the broker ended by itself with exit code %d" % code
        assert code == 0, "the broker ended with exit code %d, %.2f s after signal %d" % (
            code, time.monotonic() - start, how)


class Given:
    """A running broker that was given to us (WEIR_BROKER), with the face of Broker. stop() leaves it as it was found:
    without the sessions, retained messages, queues and exchanges of the test."""

    def __init__(self):
        pid, port = GIVEN.split(",")
        self.child, self.port = types.SimpleNamespace(pid=int(pid)), int(port)
        self.argv, self.lines = ["WEIR_BROKER=" + GIVEN], []
        raw.seen_ids.clear()
        raw.seen_queues.clear()
        raw.seen_exchanges.clear()

    def stop(self):
        os.kill(self.child.pid, 0)  # it has to be there still
        raw.forget_sessions(self.port, raw.seen_ids)
        raw.clear_retained(self.port)
        raw.delete_all(self.port, raw.seen_queues, raw.seen_exchanges)

    def kill(self):
        """It is not ours."""


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"VmRSS:\s*(\d+)", file.read()).group(1))


def is_sanitized(pid):
    """Sanitizers cost more memory than the broker does."""
    with open("/proc/%d/maps" % pid) as file:
        return any("libasan" in line or "libtsan" in line for line in file)


# ------------------------------------------------------------------------------------------------ clients

def properties(packet, **values):
    """MQTT 5 properties in paho's form: properties(PacketTypes.CONNECT, SessionExpiryInterval=60)"""
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Mqtt:
    """paho with its callbacks turned into queues. It connects once and never reconnects by itself."""

    def __init__(self, port, client_id="", version=V311, clean=True, keepalive=60, will=None, expiry_s=None,
                 in_flight=20, receive_max=None, start=True, transport="tcp", connect=None):
        """connect: more properties of an MQTT 5 CONNECT by paho's names, such as {"MaximumPacketSize": 100}"""
        self.version, self.client_id = version, client_id
        raw.seen_ids.add(client_id)
        self.messages, self.connacks, self.ends = queue.Queue(), queue.Queue(), queue.Queue()
        self.subacks, self.unsubacks = queue.Queue(), queue.Queue()
        self.session_present, self.granted_properties = None, None  # of CONNACK
        self.done = 0  # publishes that are settled
        self.settled = threading.Condition()
        kind = {} if version == V5 else {"clean_session": clean}
        self.client = paho.Client(client_id, protocol=version, transport=transport, **kind)
        self.client.max_inflight_messages_set(in_flight)
        self.client.max_queued_messages_set(0)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda client, user, message: self.messages.put(message)
        self.client.on_subscribe = lambda client, user, mid, granted, *more: self.subacks.put((mid, granted))
        self.client.on_unsubscribe = lambda client, user, mid, *more: self.unsubacks.put(mid)
        self.client.on_publish = self._on_publish
        if will:
            self.client.will_set(**will)
        self.port, self.keepalive, self.clean = port, keepalive, clean
        self.connect_properties = None
        if version == V5:
            self.connect_properties = properties(PacketTypes.CONNECT)
            if expiry_s is not None:
                self.connect_properties.SessionExpiryInterval = expiry_s
            if receive_max is not None:
                self.connect_properties.ReceiveMaximum = receive_max
            for name, value in (connect or {}).items():
                setattr(self.connect_properties, name, value)
        if start:
            self.connect()

    def connect(self):
        if self.version == V5:
            self.client.connect(HOST, self.port, self.keepalive, clean_start=self.clean,
                                properties=self.connect_properties)
        else:
            self.client.connect(HOST, self.port, self.keepalive)
        self.client.loop_start()
        code, self.session_present = self.connacks.get(timeout=DEADLINE_S)
        assert code == 0, "CONNACK says %s" % code

    def _on_connect(self, client, user, flags, reason, *more):
        self.granted_properties = more[0] if more else None
        limit = getattr(self.granted_properties, "ReceiveMaximum", None)
        if limit and limit < client._max_inflight_messages:  # [MQTT-3.3.4-7]; paho 1.6 does not look
            client.max_inflight_messages_set(limit)
        self.connacks.put((getattr(reason, "value", reason), flags["session present"]))

    def _on_disconnect(self, client, user, reason, *more):
        client._thread_terminate = True  # paho would connect again
        self.ends.put(getattr(reason, "value", reason))

    def _on_publish(self, client, user, mid):
        with self.settled:
            self.done += 1
            self.settled.notify_all()

    def subscribe(self, filter, qos=0, **options):
        """The granted QoS (or reason code) of one filter."""
        if options:
            _, mid = self.client.subscribe(filter, options=paho.SubscribeOptions(qos=qos, **options))
        else:
            _, mid = self.client.subscribe(filter, qos)
        acked, granted = self.subacks.get(timeout=DEADLINE_S)
        assert acked == mid
        return getattr(granted[0], "value", granted[0])

    def unsubscribe(self, filter):
        _, mid = self.client.unsubscribe(filter)
        assert self.unsubacks.get(timeout=DEADLINE_S) == mid

    def publish(self, topic, payload=b"", qos=0, retain=False, wait=True, **props):
        """Publishes and waits until it is settled: PUBACK, PUBCOMP, or out on the socket at QoS 0."""
        extra = {"properties": properties(PacketTypes.PUBLISH, **props)} if props else {}
        before = self.done
        info = self.client.publish(topic, payload, qos, retain, **extra)
        assert info.rc == 0, paho.error_string(info.rc)
        if wait:
            self.wait_settled(before + 1)

    def wait_settled(self, n, deadline_s=DEADLINE_S):
        with self.settled:
            if not self.settled.wait_for(lambda: self.done >= n, deadline_s):
                raise TimeOut("%s: %d of %d publishes are settled" % (self.client_id, self.done, n))

    def next(self, deadline_s=DEADLINE_S):
        try:
            return self.messages.get(timeout=deadline_s)
        except queue.Empty:
            raise TimeOut("%s: no message within %g s" % (self.client_id, deadline_s)) from None

    def take(self, n, deadline_s=DEADLINE_S):
        return [self.next(deadline_s) for _ in range(n)]

    def wait_end(self, deadline_s=DEADLINE_S):
        """Waits for the end of the connection. Its reason is for RawMqtt: paho 1.6 overlooks a DISCONNECT of one byte."""
        self.ends.get(timeout=deadline_s)

    def disconnect(self, **props):
        """With properties by paho's names in MQTT 5, such as SessionExpiryInterval=0."""
        if props:
            self.client.disconnect(properties=properties(PacketTypes.DISCONNECT, **props))
        else:
            self.client.disconnect()
        self.ends.get(timeout=DEADLINE_S)
        self.client.loop_stop()

    def drop(self):
        """Ends the connection without DISCONNECT, as a lost device does."""
        pipe = self.client.socket()
        getattr(pipe, "_socket", pipe).shutdown(socket.SHUT_RDWR)  # paho wraps that of a WebSocket
        self.ends.get(timeout=DEADLINE_S)
        self.client.loop_stop()

    def close(self):
        """However it stands: over with it."""
        self.client._thread_terminate = True
        self.client.disconnect()
        self.client.loop_stop()
        if self.client.socket():
            self.client.socket().close()


class Stomp(stomp.ConnectionListener):
    """stomp.py with its callbacks turned into queues. Bodies are bytes."""

    CLASSES = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}

    def __init__(self, port, version="1.2", heartbeats=(0, 0), vhost=None, **headers):
        self.messages, self.errors = queue.Queue(), queue.Queue()
        self.receipts, self.ended, self.late = queue.Queue(), threading.Event(), threading.Event()
        self.connected, self.number = None, 0
        more = {} if version == "1.0" else {"heartbeats": heartbeats, "vhost": vhost}
        self.connection = self.CLASSES[version]([(HOST, port)], auto_decode=False, reconnect_attempts_max=1, **more)
        self.connection.set_listener("test", self)
        self.connection.connect(wait=True, headers=headers)
        wait_for("on_connected", lambda: self.connected)  # stomp.py wakes its caller before it calls this

    def on_connected(self, frame):
        self.connected = frame

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_disconnected(self):
        self.ended.set()

    def on_heartbeat_timeout(self):
        self.late.set()

    def receipt(self):
        self.number += 1
        return "receipt-%d" % self.number

    def _get(self, waiting, what, deadline_s):
        """The next of that queue; an ERROR ends the waiting, for nothing comes behind it."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                return waiting.get(timeout=0.05)
            except queue.Empty:
                if time.monotonic() < end and (self.errors.empty() or not waiting.empty()):
                    continue
            problem = "" if self.errors.empty() else "; ERROR %r" % (self.errors.get().headers,)
            raise TimeOut("no %s within %g s%s" % (what, deadline_s, problem))

    def wait_receipt(self, receipt, deadline_s=DEADLINE_S):
        got = self._get(self.receipts, "RECEIPT " + receipt, deadline_s)
        assert got == receipt, "RECEIPT %s, but %s was next" % (got, receipt)

    def subscribe(self, destination, id="0", ack="auto", **headers):
        receipt = self.receipt()
        raw.see_headers([("destination", destination), *headers.items()])
        self.connection.subscribe(destination, id=id, ack=ack, headers=dict(headers, receipt=receipt))
        self.wait_receipt(receipt)

    def unsubscribe(self, id="0"):
        receipt = self.receipt()
        self.connection.unsubscribe(id=id, receipt=receipt)
        self.wait_receipt(receipt)

    def send(self, destination, body=b"", wait=True, **headers):
        """SEND; with wait until its RECEIPT is there."""
        raw.see_headers([("destination", destination), *headers.items()])
        if not wait:
            self.connection.send(destination, body, headers=headers)
            return
        receipt = self.receipt()
        self.connection.send(destination, body, headers=dict(headers, receipt=receipt))
        self.wait_receipt(receipt)

    def ack(self, frame):
        self.connection.ack(frame.headers["ack"])

    def nack(self, frame, **headers):
        self.connection.nack(frame.headers["ack"], **headers)

    def next(self, deadline_s=DEADLINE_S):
        return self._get(self.messages, "MESSAGE", deadline_s)

    def take(self, n, deadline_s=DEADLINE_S):
        return [self.next(deadline_s) for _ in range(n)]

    def disconnect(self):
        """DISCONNECT with a receipt, and the end of the connection."""
        self.connection.disconnect()
        if not self.ended.wait(DEADLINE_S):
            raise TimeOut("no end of the connection after DISCONNECT")

    def close(self):
        if self.connection.is_connected():
            self.connection.transport.disconnect_socket()


# ------------------------------------------------------------------------------------------------ the test case

class E2E(unittest.TestCase):
    """One broker per test, in self.broker, unless ARGS is None. OWN_BROKER: it must be one that nobody else uses,
    because the test stops it or measures it."""

    DEFAULT = ("-p", "0")
    ARGS = DEFAULT
    OWN_BROKER = False
    SECONDS = TEST_S

    def setUp(self):
        if PEER and not getattr(getattr(self, self._testMethodName), "mqtt_only", False):
            self.skipTest("not about MQTT alone")
        self.directory = tempfile.mkdtemp(prefix="weir-e2e-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.clients, self.processes, self.brokers = [], [], []
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, self.SECONDS)
        self.addCleanup(self._finish)
        if self.ARGS is not None:
            self.broker = self.start(*self.ARGS)
            self.port = self.broker.port

    def _on_alarm(self, number, frame):
        raise TimeOut("the test takes longer than %g s" % self.SECONDS)

    def _finish(self):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE_S * 2)
        try:
            for process in self.processes:
                process.kill()
            if GIVEN:
                self.close_clients()  # before it is tidied up
            # The broker stops under its clients: they must never hold it up.
            for broker in self.brokers:
                broker.stop()
        finally:
            for broker in self.brokers:
                broker.kill()
            self.close_clients()
            signal.setitimer(signal.ITIMER_REAL, 0)

    def close_clients(self):
        clients, self.clients = self.clients, []
        for client in clients:
            try:
                client.close()
            except Exception as problem:  # an already broken connection is no news here
                print("closing a client: %r" % problem, file=sys.stderr)

    def run(self, result=None):
        before = self._bad(result)
        self.brokers = []
        super().run(result)
        if result is not None and self._bad(result) > before:
            for broker in self.brokers:
                print("\n---- log of the broker in %s (%s)\n%s\n----" % (
                    self.id(), " ".join(broker.argv), "\n".join(broker.lines[-200:])), file=sys.stderr)

    @staticmethod
    def _bad(result):
        return len(result.failures) + len(result.errors) if result is not None else 0

    def start(self, *args):
        given = GIVEN and args == self.DEFAULT and not self.OWN_BROKER
        broker = Given() if given else Broker(args, self.directory)
        self.brokers.append(broker)
        return broker

    def spawn(self, *argv):
        """Another program, ended with the test. Its client id, if it has one, is the argument behind -i."""
        raw.seen_ids.update(argv[i + 1] for i, arg in enumerate(argv[:-1]) if arg == "-i")
        process = Process(list(argv))
        self.processes.append(process)
        return process

    def mqtt(self, client_id="", **options):
        client = Mqtt(self.port, client_id, **options)
        self.clients.append(client)
        return client

    def stomp(self, **options):
        client = Stomp(self.port, **options)
        self.clients.append(client)
        return client

    def keep(self, client):
        """A raw client, closed with the test."""
        self.clients.append(client)
        return client

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path


def mqtt_only(test):
    """Marks a test whose demands hold for every MQTT broker, so that it also runs with WEIR_E2E_PEER=mosquitto."""
    test.mqtt_only = True
    return test


def main():
    unittest.main(verbosity=2)
