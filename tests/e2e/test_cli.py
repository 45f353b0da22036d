# SPDX-License-Identifier: Apache-2.0
"""The command line and the configuration file: what starts, what it says, what is refused with exit code 2 and one line."""
import os
import re
import socket

from harness import E2E, HOST, WEIR_BIN, Process, free_port, main
from raw import CONNACK, RawMqtt, RawStomp


class Cli(E2E):
    ARGS = None

    def weir(self, *args):
        """(exit code, lines of output) of a call that ends by itself."""
        process = Process([WEIR_BIN, *args], env={"ASAN_OPTIONS": "detect_leaks=1:exitcode=99"})
        self.processes.append(process)
        code = process.wait()
        return code, [line for line in process.lines if line.strip()]

    def refused(self, *args, words=()):
        """Exit code 2 and exactly one line, which holds the words."""
        code, lines = self.weir(*args)
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
            for word in ("-c", "-p", "-v", "-d", "--data", "--version", "--test-config", "--help"):
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
        self.assertRegex(line, r"weir: listening on 127\.0\.0\.1:\d+( and \[::1\]:\d+)? \(mqtt, stomp\)$")
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
        broker = self.start_config("listener PORT 127.0.0.1", "autosave_interval 1800", "sys_interval 10")
        for option, place in (("autosave_interval", "weir.conf:2"),):
            said = [line for line in broker.lines if option in line]
            self.assertEqual(len(said), 1, broker.lines)
            self.assertIn(place, said[0])
        self.serves(broker.port)

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


if __name__ == "__main__":
    main()
