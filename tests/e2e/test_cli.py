# SPDX-License-Identifier: Apache-2.0
"""The command line and the configuration file: what starts, what it says, what is refused with exit code 2 and one line."""
import base64
import hashlib
import hmac
import os
import pty
import re
import select
import signal
import socket
import struct
import tempfile
import termios
import time

from harness import DEADLINE_S, E2E, HOST, V5, WEIR_BIN, Mqtt, Process, free_port, main, wait_for
from raw import AUTH, CONNACK, DISCONNECT, Raw, RawMqtt, RawStomp, packet, text, varint


class Cli(E2E):
    ARGS = None

    def weir(self, *args, stdin=None):
        """(exit code, lines of output) of a call that ends by itself; stdin: bytes."""
        given = None
        if stdin is not None:
            given = tempfile.TemporaryFile()
            self.addCleanup(given.close)
            given.write(stdin)
            given.seek(0)
        process = Process([WEIR_BIN, *args], env={"ASAN_OPTIONS": "detect_leaks=1:exitcode=99"}, stdin=given)
        self.processes.append(process)
        code = process.wait()
        return code, [line for line in process.lines if line.strip()]

    def refused(self, *args, words=(), stdin=None):
        """Exit code 2 and exactly one line, which holds the words."""
        code, lines = self.weir(*args, stdin=stdin)
        self.assertEqual(code, 2, lines)
        self.assertEqual(len(lines), 1, lines)
        for word in words:
            self.assertIn(word, lines[0])
        return lines[0]

    def config(self, *lines, name="weir.conf"):
        return self.write(name, "\n".join(lines) + "\n")

    def serves(self, port):
        client = self.keep(RawMqtt(port))
        client.connect("probe")
        client.ping()

    def start_config(self, *lines):
        """Starts with a configuration that listens on a free port (PORT in the lines); another one if somebody took it."""
        for attempt in range(5):
            port = free_port()
            path = self.config(*[line.replace("PORT", str(port)) for line in lines])
            try:
                broker = self.start("-c", path)
            except Exception:
                if attempt == 4:
                    raise
                continue
            self.assertEqual(broker.port, port)
            return broker


class Options(Cli):
    def test_help(self):
        for option in ("--help", "-h"):
            code, lines = self.weir(option)
            self.assertEqual(code, 0)
            for word in ("-c", "-p", "-v", "-d", "--data", "--version", "--test-config", "--help", "check-log"):
                self.assertTrue(any(re.search(r"(^|[\s,])%s\b" % re.escape(word), line) for line in lines), word)

    def test_version(self):
        code, lines = self.weir("--version")
        self.assertEqual(code, 0)
        self.assertRegex(lines[0], r"^weir \d+\.\d+\.\d+")

    def test_refused(self):
        self.refused("--nonsense", words=["--nonsense"])
        self.refused("-x", words=["x"])
        self.refused("-p", words=["p"])
        self.refused("-p", "many", words=["many"])
        self.refused("-p", "70000", words=["70000"])
        self.refused("-p", "-1", words=["-1"])
        self.refused("stray", words=["stray"])
        self.refused("-c", os.path.join(self.directory, "none.conf"), words=["none.conf"])
        self.refused("-c", self.directory, words=[self.directory])

    def test_check_log_is_a_command(self):
        """Its mistakes are told as those of the broker; what it says of a log is in test_restart_disk.py."""
        self.refused("check-log", words=["check-log", "directory is missing"])
        self.refused("check-log", "a", "b", words=["one directory"])
        self.refused("check-log", "--xml", "a", words=["--xml"])
        self.refused("check-log", os.path.join(self.directory, "none"), words=["none"])
        code, lines = self.weir("check-log", "--help")
        self.assertEqual(code, 0)
        self.assertTrue(any("weir check-log [--json] DIR" in line for line in lines))

    def test_port_in_use(self):
        with socket.socket() as holder:
            holder.bind((HOST, 0))
            holder.listen(1)
            port = str(holder.getsockname()[1])
            self.refused("-p", port, words=[port])
            path = self.config("listener %s 127.0.0.1" % port)
            self.refused("-c", path, words=[port, "weir.conf:1"])

    def test_port_0_is_found_and_said(self):
        broker = self.start("-p", "0")
        self.assertGreater(broker.port, 0)
        self.serves(broker.port)
        stomp = self.keep(RawStomp(broker.port))
        stomp.connect()
        line = next(line for line in broker.lines if "listening on" in line)
        self.assertRegex(line, r"weir: listening on 127\.0\.0\.1:\d+( and \[::1\]:\d+)? \(mqtt, stomp, websockets\)$")
        self.assertTrue(any("memory" in line for line in broker.lines), "it does not say that everything is in memory")

    def test_no_arguments(self):
        """1883 and 61613 on loopback, each for every protocol."""
        for port in (1883, 61613):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError:
                    self.skipTest("port %d is taken on this machine" % port)
        broker = self.start()
        broker.wait_line(r"listening on 127\.0\.0\.1:61613")
        for port in (1883, 61613):
            self.serves(port)
            self.keep(RawStomp(port)).connect()

    def test_verbose_says_more(self):
        quiet, chatty = self.start("-p", "0"), self.start("-p", "0", "-v")
        for broker in (quiet, chatty):
            self.serves(broker.port)
            broker.stop()
        self.assertGreater(len(chatty.lines), len(quiet.lines))

    def test_two_on_one_port(self):
        first = self.start("-p", "0")
        self.refused("-p", str(first.port), words=[str(first.port)])
        self.serves(first.port)


class ConfigurationFile(Cli):
    SIMPLE = ("# a comment", "", "listener PORT 127.0.0.1", "allow_anonymous true", "max_inflight_messages 20")

    def test_simple_mosquitto_conf(self):
        self.serves(self.start_config(*self.SIMPLE).port)

    def test_check_only(self):
        path = self.config(*[line.replace("PORT", "18830") for line in self.SIMPLE])
        code, lines = self.weir("--test-config", "-c", path)
        self.assertEqual(code, 0, lines)
        bad = self.config("listener 18830 127.0.0.1", "max_inflight_messages lots")
        self.refused("--test-config", "-c", bad, words=["weir.conf:2", "max_inflight_messages"])

    def test_several_listeners(self):
        one, two = free_port(), free_port()
        broker = self.start("-c", self.config("listener %d 127.0.0.1" % one, "listener %d 127.0.0.1" % two))
        broker.wait_line(r"listening on 127\.0\.0\.1:%d" % two)
        self.assertEqual(sorted(broker.ports()), sorted([one, two]))
        for port in (one, two):
            self.serves(port)

    def test_include_dir(self):
        os.mkdir(os.path.join(self.directory, "conf.d"))
        port = free_port()
        self.write("conf.d/a.conf", "listener %d 127.0.0.1\n" % port)
        self.write("conf.d/not-a-conf.txt", "nonsense here\n")
        broker = self.start("-c", self.config("include_dir %s/conf.d" % self.directory))
        self.assertEqual(broker.port, port)

    def test_mistakes_name_their_place(self):
        for name, lines, words in (
                ("unknown", ("", "lisener 1883"), ["weir.conf:2", "lisener"]),
                ("no value", ("listener",), ["weir.conf:1", "listener"]),
                ("bad port", ("listener 99999",), ["weir.conf:1", "99999"]),
                ("bad address", ("listener 1883 not.an.address.invalid",), ["weir.conf:1", "not.an.address"]),
                ("not a boolean", ("listener 18830 127.0.0.1", "allow_anonymous maybe"), ["weir.conf:2", "maybe"]),
                ("not a number", ("max_inflight_messages 20x",), ["weir.conf:1", "20x"]),
                ("too large", ("max_inflight_messages 99999999999999999999",), ["weir.conf:1"]),
                ("missing folder", ("include_dir /does/not/exist",), ["weir.conf:1", "/does/not/exist"])):
            with self.subTest(name=name):
                self.refused("-c", self.config(*lines), words=words)

    def test_mistake_in_an_included_file(self):
        os.mkdir(os.path.join(self.directory, "conf.d"))
        self.write("conf.d/b.conf", "# fine\n\nnonsense 1\n")
        self.refused("-c", self.config("include_dir %s/conf.d" % self.directory), words=["b.conf:3", "nonsense"])

    def test_what_restricts_and_is_not_there_stops_the_start(self):
        """A broker never comes up more open than its file says."""
        for line in ("password_file /etc/passwd", "acl_file /etc/acl", "allow_anonymous false", "cafile /etc/ca.crt",
                     "certfile /etc/server.crt", "keyfile /etc/server.key", "require_certificate true",
                     "psk_file /etc/psk", "psk_hint hint", "plugin /usr/lib/x.so", "auth_plugin /usr/lib/x.so",
                     "use_identity_as_username true", "capath /etc/ssl/certs", "crlfile /etc/crl"):
            with self.subTest(line=line):
                option = line.split()[0]
                self.refused("-c", self.config("listener 18830 127.0.0.1", line), words=["weir.conf:2", option])

    def test_other_options_of_mosquitto_are_named_and_left_out(self):
        broker = self.start_config("listener PORT 127.0.0.1", "autosave_interval 1800", "upgrade_outgoing_qos true")
        for option, place in (("autosave_interval", "weir.conf:2"), ("upgrade_outgoing_qos", "weir.conf:3")):
            said = [line for line in broker.lines if option in line]
            self.assertEqual(len(said), 1, broker.lines)
            self.assertIn(place, said[0])
        self.serves(broker.port)

    def test_what_asks_for_the_disk_names_a_directory(self):
        """mosquitto's `persistence true` alone writes where it was started; weir does not guess."""
        for line in ("persistence true", "persistence always", "persistence interval 1s", "retained_persistence true"):
            with self.subTest(line=line):
                path = self.config("listener 18830 127.0.0.1", line)
                for check in ((), ("--test-config",)):
                    self.refused("-c", path, *check, words=["weir.conf:2: ", "persistence_location DIR", "--data DIR"])
        path, where = self.config("persistence off", "persistence_location /e"), os.path.join(self.directory, "log")
        self.refused("-c", path, "--data", where, words=["--data", "weir.conf:1: persistence"])
        path = self.config("persistence_location /e")
        self.refused("-c", path, "--data", where, words=["--data", "weir.conf:1: persistence_location"])
        self.refused("--data", "", words=["--data"])
        self.assertFalse(os.path.exists(where))
        code, lines = self.weir("--test-config", "--data", where)
        self.assertEqual((code, lines), (0, ["OK"]))
        self.assertFalse(os.path.exists(where))  # --test-config opens nothing

    def test_persistence_off(self):
        """mosquitto's default, with a directory that is not used."""
        where = os.path.join(self.directory, "log")
        broker = self.start_config("listener PORT 127.0.0.1", "persistence false", "persistence_location " + where)
        broker.wait_line("in memory only, nothing survives a restart")
        self.assertFalse(os.path.exists(where))

    def test_anonymous_beyond_loopback(self):
        """Not on loopback: nobody comes in without a name unless the file says so."""
        broker = self.start_config("listener PORT 0.0.0.0")
        for level, answer in ((4, b"\0\x05"), (5, b"\0\x87")):
            client = self.keep(RawMqtt(broker.port, level))
            client.send(client.connect_packet("anybody"))
            self.assertEqual(client.read(CONNACK).body[:2], answer)
            client.read_eof()
        stomp = self.keep(RawStomp(broker.port))
        stomp.frame("CONNECT", ("accept-version", "1.2"), ("host", "localhost"))
        stomp.read_error()
        self.serves(self.start_config("listener PORT 0.0.0.0", "allow_anonymous true").port)


# ------------------------------------------------------------------------------------------------ who may log in

def digest(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


class Scram:
    """The other side of SCRAM-SHA-256, from RFC 5802 and Python's hashlib alone."""

    def __init__(self, user, password, nonce="fyko+d2lbbFgONRv9qkxdawL"):
        self.password, self.nonce = password.encode(), nonce
        self.bare = "n=%s,r=%s" % (user, nonce)

    def first(self):
        return ("n,," + self.bare).encode()

    def final(self, answer):
        fields = dict(field.split("=", 1) for field in answer.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce), answer
        self.salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        unsigned = "c=biws,r=" + fields["r"]
        self.message = ",".join((self.bare, answer.decode(), unsigned)).encode()
        key = digest(self.salted, b"Client Key")
        signature = digest(hashlib.sha256(key).digest(), self.message)
        proof = bytes(a ^ b for a, b in zip(key, signature))
        return unsigned.encode() + b",p=" + base64.b64encode(proof)

    def accepts(self, answer):
        signature = digest(digest(self.salted, b"Server Key"), self.message)
        return answer == b"v=" + base64.b64encode(signature)


def auth_props(data, method="SCRAM-SHA-256"):
    return b"\x15" + text(method) + b"\x16" + text(data)


def auth_data(props):
    """The Authentication Data among properties that begin with the method (what weir sends)."""
    at = props.index(b"\x15" + text("SCRAM-SHA-256") + b"\x16") + 3 + len("SCRAM-SHA-256") + 1
    size = struct.unpack(">H", props[at:at + 2])[0]
    return props[at + 2:at + 2 + size]


class Users(Cli):
    def line(self, user, password, *args):
        code, lines = self.weir("--scram-user", user, *args, stdin=password.encode() + b"\n")
        self.assertEqual((code, len(lines)), (0, 1), lines)
        return lines[0]

    def users(self, *lines):
        path = self.write("users", "# who may log in\n" + "\n".join(lines) + "\n")
        os.chmod(path, 0o600)
        return path

    def login(self, port, user, password):
        """The reason code of the CONNACK; a proof of the broker is checked."""
        client, scram = self.keep(RawMqtt(port, 5)), Scram(user, password)
        client.send(client.connect_packet("c-" + user, props=auth_props(scram.first())))
        got = client.read()
        if got.kind == AUTH:
            self.assertEqual(got.body[0], 0x18)  # Continue authentication
            data = scram.final(auth_data(got.body))
            props = auth_props(data)
            client.send(packet(AUTH, b"\x18" + varint(len(props)) + props))
            got = client.read()
        self.assertEqual(got.kind, CONNACK)
        if got.body[1] == 0:
            self.assertTrue(scram.accepts(auth_data(got.body)))
            client.ping()
        else:
            client.read_eof()
        return got.body[1]

    def test_a_line(self):
        """What it prints fits the password, by another implementation."""
        line = self.line("anna b", "sesame, open=now:$")
        user, method, rest, keys = re.match(r"^(.*):(SCRAM-SHA-256)\$([^$]*)\$(.*)$", line).groups()
        self.assertEqual(user, "anna b")
        iterations, salt = rest.split(":")
        self.assertEqual(iterations, "15000")
        self.assertEqual(len(base64.b64decode(salt, validate=True)), 16)
        salted = hashlib.pbkdf2_hmac("sha256", b"sesame, open=now:$", base64.b64decode(salt), 15000)
        stored = hashlib.sha256(digest(salted, b"Client Key")).digest()
        wanted = ":".join(base64.b64encode(key).decode() for key in (stored, digest(salted, b"Server Key")))
        self.assertEqual(keys, wanted)
        self.assertNotEqual(self.line("anna b", "sesame, open=now:$"), line)  # another salt
        self.assertIn("$4096:", self.line("anna", "x", "--scram-iterations", "4096"))

    def test_lines_that_cannot_be(self):
        for user, password, words in (("anna", b"\n", "empty"), ("anna", b"", "empty"), ("", b"x\n", "empty"),
                                      ("an:na", b"x\n", "colon"), ("#anna", b"x\n", "#"), (" anna", b"x\n", "space"),
                                      ("anna", "pä\n".encode(), "ASCII"), ("anna", b"a\tb\n", "control"),
                                      ("anna", b"a" * 2000, "longer"), ("a" * 256, b"x\n", "longer")):
            with self.subTest(user=user, password=password):
                self.refused("--scram-user", user, words=[words], stdin=password)

    def test_typed(self):
        """At a terminal: asked twice, shown never, and the terminal is as it was."""
        for typed, code in (((b"sesame", b"sesame"), 0), ((b"sesame", b"sesamE"), 2), ((b"sesame", None), -signal.SIGINT)):
            with self.subTest(typed=typed):
                master, slave = pty.openpty()
                self.addCleanup(os.close, master)
                before = termios.tcgetattr(slave)
                process = Process([WEIR_BIN, "--scram-user", "anna"], stdin=slave)
                self.processes.append(process)
                for word in typed:
                    wait_for("no echo", lambda: not termios.tcgetattr(slave)[3] & termios.ECHO)
                    if word is None:
                        process.child.send_signal(signal.SIGINT)
                    else:
                        os.write(master, word + b"\n")
                self.assertEqual(process.wait(), code)
                self.assertEqual(termios.tcgetattr(slave), before)
                self.assertNotIn("sesame", process.output())
                self.assertEqual("anna:SCRAM-SHA-256$15000:" in process.output(), code == 0)
                shown = os.read(master, 1000) if select.select([master], [], [], 0)[0] else b""
                self.assertNotIn(b"sesame", shown)
                os.close(slave)

    def test_who_gets_in(self):
        path = self.users(self.line("anna", "sesame"), self.line("bert", "pencil", "--scram-iterations", "4096"))
        broker = self.start_config("listener PORT 127.0.0.1", "allow_anonymous false", "scram_file " + path)
        broker.wait_line(r"only users of the scram_file can log in, with MQTT 5 and SCRAM-SHA-256")
        self.assertEqual(self.login(broker.port, "anna", "sesame"), 0)
        self.assertEqual(self.login(broker.port, "bert", "pencil"), 0)
        for user, password in (("anna", "pencil"), ("bert", "pencil "), ("nobody", "sesame"), ("Anna", "sesame")):
            with self.subTest(user=user, password=password):
                self.assertEqual(self.login(broker.port, user, password), 0x87)
        for level, answer in ((4, b"\0\x05"), (5, b"\0\x87")):  # nobody, and a name with a plain password
            client = self.keep(RawMqtt(broker.port, level))
            client.send(client.connect_packet("anybody"))
            self.assertEqual(client.read(CONNACK).body[:2], answer)
            client.read_eof()
        client = self.keep(RawMqtt(broker.port, 4))
        body = text("MQTT") + b"\x04\xc2\0\x3c" + text("c-plain") + text("anna") + text("sesame")
        client.send(packet(1, body))
        self.assertIn(client.read(CONNACK).body[1], (4, 5))
        stomp = self.keep(RawStomp(broker.port))
        stomp.frame("CONNECT", ("accept-version", "1.2"), ("host", "localhost"), ("login", "anna"), ("passcode", "sesame"))
        stomp.read_error()

    def test_both_ways(self):
        """Where everybody may log in, who proves who they are may, too, and a wrong proof is still refused."""
        broker = self.start_config("listener PORT 127.0.0.1", "scram_file " + self.users(self.line("anna", "sesame")))
        self.serves(broker.port)
        self.assertEqual(self.login(broker.port, "anna", "sesame"), 0)
        self.assertEqual(self.login(broker.port, "anna", "wrong"), 0x87)

    def test_without_a_file_there_is_no_method(self):
        broker = self.start("-p", "0")
        self.assertEqual(self.login(broker.port, "anna", "sesame"), 0x8C)

    def test_beyond_loopback(self):
        path = self.users(self.line("anna", "sesame"))
        broker = self.start_config("listener PORT 0.0.0.0", "scram_file " + path, "log_type information")
        self.assertEqual(self.login(broker.port, "anna", "sesame"), 0)
        self.assertEqual(self.login(broker.port, "anna", "wrong"), 0x87)
        broker.wait_line(r"SCRAM-SHA-256 of user 'anna' refused: the proof is wrong")

    def test_files_with_mistakes(self):
        good = self.line("anna", "sesame")
        for lines, words in (((good, good), ["users:3", "line 2"]), ((good, "bert"), ["users:3", "colon"]),
                             (("anna:sesame",), ["users:2", "SCRAM-SHA-256"])):
            with self.subTest(lines=lines):
                path = self.users(*lines)
                for check in ((), ("--test-config",)):
                    self.refused("-c", self.config("port 0", "scram_file " + path), *check,
                                 words=["weir.conf:2: scram_file", *words])

    def test_a_file_everybody_can_read_is_said(self):
        path = self.users(self.line("anna", "sesame"))
        os.chmod(path, 0o644)
        code, lines = self.weir("--test-config", "-c", self.config("scram_file " + path))
        self.assertEqual(code, 0)
        self.assertTrue(any("everybody can read" in line for line in lines), lines)


# ------------------------------------------------------------------------------------------------ what is served

def get(path, *headers):
    lines = ["GET %s HTTP/1.1" % path, "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    return "\r\n".join(lines + list(headers) + ["", ""]).encode()


MQTT_IN_WS = "Sec-WebSocket-Protocol: mqtt"


class Serves(Cli):
    def upgrade(self, port, path="/", *headers):
        """The status of the answer to a request for a WebSocket."""
        client = self.keep(Raw(port))
        client.send(get(path, *headers))
        while b"\r\n\r\n" not in client.buffer:
            assert client.fill(time.monotonic() + DEADLINE_S, "an answer"), client.buffer
        return int(client.buffer.split(b" ", 2)[1])

    def connack_props(self, port, props=b""):
        """What the CONNACK tells an MQTT 5 peer."""
        client = self.keep(RawMqtt(port, 5))
        client.send(client.connect_packet("asks", props=props))
        return client.read(CONNACK).body

    def is_refused(self, port, data):
        client = self.keep(Raw(port))
        client.send(data)
        self.assertNotIn(b"101 Switching", client.read_eof())

    def test_protocols(self):
        broker = self.start_config("listener PORT 127.0.0.1", "protocol websockets")
        broker.wait_line(r"\(websockets\)")
        self.assertEqual(self.upgrade(broker.port, "/any", MQTT_IN_WS), 101)
        self.assertEqual(self.upgrade(broker.port, "/", "Sec-WebSocket-Protocol: mqttv3.1"), 101)
        self.is_refused(broker.port, RawMqtt.connect_packet(self.keep(RawMqtt(broker.port)), "bare"))
        self.is_refused(broker.port, b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0")
        for protocol in ("mqtt", "stomp"):
            broker = self.start_config("listener PORT 127.0.0.1", "protocol " + protocol)
            broker.wait_line(r"\(%s\)" % protocol)
            self.is_refused(broker.port, get("/", MQTT_IN_WS))

    def test_all_on_one_port(self):
        broker = self.start_config("listener PORT 127.0.0.1")
        self.assertEqual(self.upgrade(broker.port, "/", MQTT_IN_WS), 101)
        self.keep(RawStomp(broker.port)).connect()
        web = self.keep(Mqtt(broker.port, "web", V5, transport="websockets"))
        web.subscribe("a", 1)
        bare = self.keep(RawMqtt(broker.port))
        bare.connect("bare")
        bare.publish("a", b"hello")
        self.assertEqual(web.next().payload, b"hello")

    def test_origins_hosts_paths(self):
        broker = self.start_config("listener PORT 127.0.0.1", "websockets_origin https://dash.example.org",
                                   "websockets_origin http://b.example:8080", "websockets_path /mqtt", "websockets_path /ws",
                                   "websockets_host hub.example")
        for path, origin, status in (("/mqtt", "https://dash.example.org", 101), ("/ws", "http://b.example:8080", 101),
                                     ("/ws", "http://b.example", 403), ("/ws", "https://evil.example", 403),
                                     ("/ws", "null", 403), ("/", "https://dash.example.org", 404)):
            with self.subTest(path=path, origin=origin):
                self.assertEqual(self.upgrade(broker.port, path, MQTT_IN_WS, "Origin: " + origin), status)
        client = self.keep(Raw(broker.port))
        request = get("/ws", MQTT_IN_WS, "Origin: http://hub.example:%d" % broker.port)
        client.send(request.replace(b"Host: 127.0.0.1", b"Host: hub.example:%d" % broker.port))
        client.need(12, time.monotonic() + DEADLINE_S, "an answer")
        self.assertEqual(client.eat(12), b"HTTP/1.1 101")
        broker = self.start_config("listener PORT 127.0.0.1", "websockets_origin *")
        self.assertEqual(self.upgrade(broker.port, "/", MQTT_IN_WS, "Origin: https://evil.example"), 101)

    def test_lenient(self):
        for line in ("conformance strict", "conformance lenient"):  # without a subprotocol: test_ws.py
            broker = self.start_config("listener PORT 127.0.0.1", line)
            client = self.keep(RawMqtt(broker.port))
            client.connect("sloppy")
            client.send(packet(8, b"\0\1" + text("a") + b"\0", 0))  # SUBSCRIBE with wrong reserved bits
            if line.endswith("lenient"):
                self.assertEqual(client.read().body, b"\0\1\0")
            else:
                self.assertEqual(client.read_eof(), b"")

    def test_unix_socket(self):
        path = os.path.join(self.directory, "weir.sock")
        broker = self.start_config("listener PORT 127.0.0.1", "listener 0 " + path, "max_qos 1")
        broker.wait_line(r"listening on %s \(mqtt, stomp, websockets\)" % re.escape(path))
        client = self.keep(RawMqtt(path))
        client.connect("local")
        client.subscribe("a", 1)
        other = self.keep(RawMqtt(broker.port))
        other.connect("other")
        other.publish("a", b"hello", 1, 5)
        other.read_ack(4)
        self.assertEqual(client.read_publish()[:2], ("a", b"hello"))
        self.keep(RawStomp(path)).connect()
        self.assertEqual(self.upgrade(path, "/", MQTT_IN_WS), 101)
        broker.stop()
        self.assertFalse(os.path.exists(path))

    def test_max_qos(self):
        broker = self.start_config("listener PORT 127.0.0.1", "max_qos 1")
        self.assertIn(b"\x24\x01", self.connack_props(broker.port))  # Maximum QoS 1
        client = self.keep(RawMqtt(broker.port, 5))
        client.connect("bold")
        client.send(packet(8, b"\0\1\0" + text("a") + b"\2", 2))
        self.assertEqual(client.read().body[-1], 1)
        client.publish("a", b"x", 2, 7)
        self.assertEqual(client.read(DISCONNECT).body[0], 0x9B)  # QoS not supported
        self.assertNotIn(b"\x24\x01", self.connack_props(self.start("-p", "0").port))

    def test_moved(self):
        broker = self.start_config("listener PORT 127.0.0.1", "server_reference hub2.example:1883", "server_moved true")
        body = self.connack_props(broker.port)
        self.assertEqual(body[1], 0x9D)
        self.assertIn(b"\x1c" + text("hub2.example:1883"), body)
        client = self.keep(RawMqtt(broker.port, 4))
        client.send(client.connect_packet("old"))
        self.assertEqual(client.read(CONNACK).body[:2], b"\0\3")

    def test_response_information(self):
        broker = self.start_config("listener PORT 127.0.0.1", "response_information replies/%c")
        self.assertIn(b"\x1a" + text("replies/asks"), self.connack_props(broker.port, b"\x19\x01"))
        self.assertNotIn(b"replies", self.connack_props(broker.port))

    def test_aliases(self):
        broker = self.start_config("listener PORT 127.0.0.1", "max_topic_alias 7")
        self.assertIn(b"\x22\0\x07", self.connack_props(broker.port))

    def test_payload_format(self):
        for line, code in (("check_payload_format true", 0x99), ("check_payload_format false", 0x10)):
            broker = self.start_config("listener PORT 127.0.0.1", line)
            client = self.keep(RawMqtt(broker.port, 5))
            client.connect("liar")
            client.publish("a", b"\xff\xfe", 1, 3, props=b"\x01\x01")
            got = client.read()
            self.assertEqual(got.body[2] if got.kind == 4 else got.body[0], code)

    def test_queued_overflow(self):
        for line, kept in (("queued_overflow drop-new", [b"1", b"2"]), ("queued_overflow drop-head", [b"3", b"4"])):
            broker = self.start_config("listener PORT 127.0.0.1", line, "max_queued_messages 2", "queue_qos0_messages true")
            away, client = self.keep(RawMqtt(broker.port)), self.keep(RawMqtt(broker.port))
            away.connect("away", clean=False)
            away.subscribe("a", 1)
            away.disconnect()
            client.connect("sends")
            for n in b"1234":
                client.publish("a", bytes([n]), 0)
            client.ping()
            back = self.keep(RawMqtt(broker.port))
            back.connect("away", clean=False)
            self.assertEqual([back.read_publish()[1] for _ in kept], kept)

    def test_sys_interval(self):
        broker = self.start_config("listener PORT 127.0.0.1", "sys_interval 1")
        client = self.keep(RawMqtt(broker.port))
        client.connect("looks")
        client.subscribe("$SYS/broker/version", 0)
        topic, payload, *_ = client.read_publish()
        self.assertEqual(topic, "$SYS/broker/version")
        self.assertIn(b"weir", payload)
        broker = self.start_config("listener PORT 127.0.0.1", "sys_interval 0")
        client = self.keep(RawMqtt(broker.port))
        client.connect("looks")
        client.subscribe("$SYS/#", 0)
        client.subscribe("end", 0, 2)
        client.publish("end", b"")
        self.assertEqual(client.read_publish()[0], "end")  # nothing came before it


if __name__ == "__main__":
    main()
