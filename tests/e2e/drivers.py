# SPDX-License-Identifier: Apache-2.0
"""drivers.py: clients in other languages, steered line by line.

A driver is a program that has a client library in it: js/driver.js (MQTT.js, many clients in one process) and
c/driver.c (paho's C library, one client a process). It reads requests and writes answers and events, one line each:

    > 3 publish client=sub topic=a/b payload=0001 qos=1 UserProperty=name=value
    < 3 ok reason=0
    < - message client=sub topic=a/b payload=0001 qos=1 retain=0 dup=0 UserProperty=name=value
    < - end client=sub reason=142
    < 4 no why=...

The words of a line are separated by one blank; behind the request's number and its verb each is key=value with everything
but letters, digits and -._~/ as %XX, a payload in hex. `client` is a name that the test gives, once for each
connection. MQTT 5 properties go by paho-python's names; UserProperty may come several times,
in order, with name=value as its value (each of the two encoded). Verbs:

    connect      id host port transport(tcp|ws) version(3|4|5) clean keepalive, will_topic will_payload will_qos will_retain,
                 the properties of CONNECT; MQTT.js only: aliases=1 (it assigns topic aliases), scram_user, scram_password.
                 Answer: present=0|1 (-1: the library does not say) and the properties of CONNACK; or no, with a code when
                 the CONNACK refuses.
    subscribe    filter qos, no_local, retain_as_published, retain_handling, SubscriptionIdentifier. Answer: granted
    unsubscribe  filter
    publish      topic payload qos retain and properties. Answered when it is settled.
    disconnect   SessionExpiryInterval. Answered when the connection has ended.
    drop         ends the connection without DISCONNECT (in C: by killing the process)
"""
import os
import queue
import shutil
import subprocess
import threading
import types
from urllib.parse import quote, unquote_to_bytes

import raw
from harness import DEADLINE_S, HOST, ROOT, V5, Mqtt, Process, TimeOut

JS = os.path.join(ROOT, "tests", "e2e", "js")
PAHO_C = os.environ.get("WEIR_PAHO_C", "")
NUMBERS = {"qos", "retain", "dup", "granted", "present", "code", "reason", "PayloadFormatIndicator", "TopicAlias",
           "MessageExpiryInterval", "SessionExpiryInterval", "ReceiveMaximum", "TopicAliasMaximum", "MaximumPacketSize",
           "ServerKeepAlive", "MaximumQoS", "RetainAvailable", "SharedSubscriptionAvailable",
           "WildcardSubscriptionAvailable", "SubscriptionIdentifierAvailable"}
BYTES = {"CorrelationData", "AuthenticationData"}


class Refused(Exception):
    """The driver said no; `code` is the reason code of the broker, if there is one."""

    def __init__(self, words):
        super().__init__(str(words))
        self.code = words.get("code")


def word(key, value):
    if isinstance(value, bool):
        value = int(value)
    if key == "payload":
        return "payload=" + (value if isinstance(value, bytes) else value.encode()).hex()
    value = value if isinstance(value, (bytes, str)) else str(value)
    return "%s=%s" % (key, quote(value, safe="/"))


def line_of(values):
    out = []
    for key, value in values.items():
        if value is None:
            continue
        if key == "UserProperty":
            out += ["UserProperty=%s=%s" % (quote(name), quote(text)) for name, text in value]
        else:
            out.append(word(key, value))
    return " ".join(out)


def words_of(line):
    values = {}
    for part in line.split():
        key, _, value = part.partition("=")
        if key == "UserProperty":
            pair = tuple(unquote_to_bytes(half).decode() for half in value.split("="))
            values.setdefault(key, []).append(pair)
        elif key == "SubscriptionIdentifier":
            values.setdefault(key, []).append(int(value))
        elif key == "payload":
            values[key] = bytes.fromhex(value)
        elif key in NUMBERS:
            values[key] = int(value)
        else:
            data = unquote_to_bytes(value)
            values[key] = data if key in BYTES else data.decode()
    return values


class Driver(Process):
    """The process. Answers go to whoever asked, events to the client they are for."""

    def __init__(self, argv):
        self.lock, self.number, self.answers, self.listeners = threading.Lock(), 0, {}, {}
        # The library is not ours: its leaks are not looked for.
        super().__init__(argv, stdin=subprocess.PIPE, env={"ASAN_OPTIONS": "detect_leaks=0"})

    def _read(self):
        for line in self.child.stdout:
            number, _, rest = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
            verb, _, rest = rest.partition(" ")
            if number == "-" and verb in ("message", "end"):
                values = words_of(rest)
                listener = self.listeners.get(values["client"])
                if listener:
                    (listener.messages if verb == "message" else listener.ends).put(values)
            elif verb in ("ok", "no"):
                self.answers[int(number)].put((verb, words_of(rest)))
            else:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))  # a complaint
        self.ended = True
        for answer in list(self.answers.values()):
            answer.put(("no", {"why": "the driver has ended: " + "\n".join(self.lines)}))

    def request(self, verb, values):
        """Sends it; the queue its answer will be put into."""
        answer = queue.Queue()
        with self.lock:
            self.number += 1
            self.answers[self.number] = answer
            self.child.stdin.write(("%d %s %s\n" % (self.number, verb, line_of(values))).encode())
            self.child.stdin.flush()
        return answer

    @staticmethod
    def wait_answer(answer, what, deadline_s=DEADLINE_S):
        try:
            verb, values = answer.get(timeout=deadline_s)
        except queue.Empty:
            raise TimeOut("no answer to %s within %g s" % (what, deadline_s)) from None
        if verb == "no":
            raise Refused(values)
        return values

    def ask(self, verb, deadline_s=DEADLINE_S, **values):
        return self.wait_answer(self.request(verb, values), verb, deadline_s)

    def kill(self):
        self.child.kill()
        self.child.stdin.close()
        super().kill()


def start_js():
    if not os.path.isdir(os.path.join(JS, "node_modules", "mqtt")):
        raise FileNotFoundError("MQTT.js is missing: `./dev test e2e/` installs it (npm ci in tests/e2e/js)")
    return Driver([shutil.which("node") or "nodejs", os.path.join(JS, "driver.js")])


def start_c():
    if not os.access(PAHO_C, os.X_OK):
        raise FileNotFoundError("the driver of paho's C library is missing (WEIR_PAHO_C): `./dev test e2e/` installs "
                                "libpaho-mqtt-dev and builds it")
    return Driver([PAHO_C])


class Driven:
    """A client in a driver, with the face of harness.Mqtt. It connects once and never reconnects by itself."""

    def __init__(self, test, kind, port, client_id, version, transport="tcp", clean=True, keepalive=60, will=None,
                 expiry_s=None, connect=None, **more):
        self.driver = test.js() if kind == "js" else test.own_driver(start_c())
        self.kind, self.client_id, self.version = kind, client_id, version
        self.messages, self.ends, self.pending = queue.Queue(), queue.Queue(), []
        raw.seen_ids.add(client_id)
        self.name = "%s#%d" % (client_id, len(self.driver.listeners))
        self.driver.listeners[self.name] = self
        values = dict(connect or {}, **more)
        if expiry_s is not None and version == V5:
            values["SessionExpiryInterval"] = expiry_s
        if will:
            values.update(("will_" + name, value) for name, value in will.items())
        self.granted = self.driver.ask("connect", client=self.name, id=client_id, host=HOST, port=port, version=version,
                                       transport=transport, clean=clean, keepalive=keepalive, **values)
        self.session_present = None if self.granted["present"] < 0 else bool(self.granted["present"])

    def subscribe(self, filter, qos=0, noLocal=None, retainAsPublished=None, retainHandling=None, **more):
        return self.driver.ask("subscribe", client=self.name, filter=filter, qos=qos, no_local=noLocal,
                               retain_as_published=retainAsPublished, retain_handling=retainHandling, **more)["granted"]

    def unsubscribe(self, filter):
        self.driver.ask("unsubscribe", client=self.name, filter=filter)

    def publish(self, topic, payload=b"", qos=0, retain=False, wait=True, **props):
        answer = self.driver.request("publish", dict(props, client=self.name, topic=topic, payload=payload,
                                                     qos=qos, retain=retain))
        if wait:
            return self.driver.wait_answer(answer, "publish").get("reason", 0)
        self.pending.append(answer)

    def wait_settled(self):
        """All publishes that were not waited for."""
        for answer in self.pending:
            self.driver.wait_answer(answer, "publish")
        self.pending = []

    def next(self, deadline_s=DEADLINE_S):
        try:
            values = self.messages.get(timeout=deadline_s)
        except queue.Empty:
            raise TimeOut("%s: no message within %g s" % (self.client_id, deadline_s)) from None
        got = types.SimpleNamespace(**{key: values.pop(key) for key in ("topic", "payload", "qos")})
        got.retain, got.dup = bool(values.pop("retain")), bool(values.pop("dup"))
        got.properties = types.SimpleNamespace(**values)
        return got

    def take(self, n, deadline_s=DEADLINE_S):
        return [self.next(deadline_s) for _ in range(n)]

    def wait_end(self, deadline_s=DEADLINE_S):
        """The end of the connection: the reason code of the broker's DISCONNECT, None without one."""
        return self.ends.get(timeout=deadline_s).get("reason")

    def disconnect(self, **props):
        self.driver.ask("disconnect", client=self.name, **props)
        if self.kind == "c":
            self.driver.kill()

    def drop(self):
        if self.kind == "c":
            self.driver.kill()
        else:
            self.driver.ask("drop", client=self.name)

    def close(self):
        """However it stands: over with it."""
        if self.driver.child.poll() is None:
            self.drop()


class Drivers:
    """For a test case: clients of any kind by name. "js", "c", "py", each with a transport behind a blank: "js ws"."""

    def js(self):
        """The one Node process of this test."""
        for process in self.processes:
            if isinstance(process, Driver) and process.argv[-1].endswith("driver.js"):
                return process
        return self.own_driver(start_js())

    def own_driver(self, driver):
        self.processes.append(driver)
        return driver

    def client(self, kind, client_id, version, **options):
        library, _, transport = kind.partition(" ")
        transport = transport or "tcp"
        if library == "py":
            made = Mqtt(self.port, client_id, version=version,
                        transport="websockets" if transport == "ws" else "tcp", **options)
        else:
            made = Driven(self, library, self.port, client_id, version, transport=transport, **options)
        self.clients.append(made)
        return made
