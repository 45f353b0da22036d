# SPDX-License-Identifier: Apache-2.0
"""broker.py: what there is to know of a broker (Peer), and one that runs (Stable).

    bench/peers/NAME.py      class NAME(Peer): program, version, configuration, what it can do
    Stable.get(peer)      ─► a running broker on free loopback ports, in a directory of its own, alone on its core
    Stable.put_back()     ─► ended; or, if it is slow to start (Peer.is_kept), stopped with SIGSTOP until it is needed again

Every start has a deadline (Peer.start_s); a broker that does not answer by then is an error of that run only.
"""
import collections
import os
import shutil
import signal
import socket
import subprocess
import time

from . import machine

# What scenarios may need. QoS 0 and 1 and clean sessions everybody has.
QOS2, STOMP, RETAINED, OFFLINE, WILDCARD = "QoS 2", "STOMP", "retained messages", "offline sessions", "wildcards"


# Free ports for one start: two to be spoken to, two for what else a broker wants to open.
Doors = collections.namedtuple("Doors", "mqtt stomp inner mapper")


class Failure(Exception):
    """A broker or a run that did not do what it should; the text says it in one line."""


class Peer:
    name = None        # as in results.json and on the command line
    title = None       # as in the document
    program = None     # file name of what is started
    can = frozenset()  # of the constants above
    start_s = 10       # deadline of a start
    is_kept = False    # slow to start: started once, paused while others are measured
    end_codes = None   # exit codes that are right after SIGTERM; None: any
    how = ""           # its configuration in a sentence, for the document

    def __init__(self, build):
        self.build = build
        self.path = self.find()

    def find(self):
        """Path of the program, or None."""
        return machine.find_program(self.program)

    def version(self):
        return self.ask(self.path, "--version")

    def configure(self, home, ports):
        """Writes what it needs into the directory home; returns (argv, environment additions)."""
        raise NotImplementedError

    def helper(self, ports):
        """argv of a process that must run beside it, or None."""
        return None

    @staticmethod
    def ask(*argv):
        """The first line such a command prints."""
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=10, check=False, text=True)
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        lines = done.stdout.strip().splitlines()
        return lines[0].strip() if lines else "unknown"


def write(home, name, text):
    path = os.path.join(home, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Broker:
    """A running one."""

    def __init__(self, stable, peer):
        self.stable, self.peer = stable, peer
        self.ports = Doors(*(stable.ports.take() for _ in Doors._fields))
        self.home = os.path.join(stable.directory, "%s-%d" % (peer.name, self.ports.mqtt))
        self.child = self.beside = None
        os.mkdir(self.home)
        try:
            self.start()
        except BaseException:
            self.end()
            raise

    def start(self):
        argv, more = self.peer.configure(self.home, self.ports)
        env = dict(os.environ, **more)
        helper = self.peer.helper(self.ports)
        if helper is not None:
            self.beside = self.stable.children.start(helper, self.stable.core, env)
        with open(os.path.join(self.home, "output"), "wb") as output:
            self.child = self.stable.children.start(argv, self.stable.core, env, output, subprocess.STDOUT)
        deadline = time.monotonic() + self.peer.start_s
        self.wait_for_port(self.ports.mqtt, deadline)
        if STOMP in self.peer.can:
            self.wait_for_port(self.ports.stomp, deadline)

    @property
    def pid(self):
        return self.child.pid  # every one of them is exec'ed: the first process is the broker

    def wait_for_port(self, port, deadline):
        while time.monotonic() < deadline:
            if machine.has_left(self.child):
                raise Failure("%s did not start: %s" % (self.peer.name, self.last_words()))
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise Failure("%s did not open its port within %d s" % (self.peer.name, self.peer.start_s))

    def last_words(self):
        lines = machine.read_text(os.path.join(self.home, "output")).strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def pause(self):
        machine.signal_group(self.child, signal.SIGSTOP)

    def resume(self):
        machine.signal_group(self.child, signal.SIGCONT)
        time.sleep(0.3)  # its timers that came due meanwhile

    def end(self):
        """Returns what was wrong: that it had ended by itself, or how it ended when told to; or None."""
        wrong = None
        if self.child is not None:
            gone = machine.has_left(self.child)
            code = self.stable.children.end(self.child, 0 if self.peer.is_kept else machine.END_S)
            if gone:
                wrong = "%s ended during the run, exit code %d: %s" % (self.peer.name, code, self.last_words())
            elif self.peer.end_codes is not None and code not in self.peer.end_codes:
                wrong = "%s ended with %d after SIGTERM: %s" % (self.peer.name, code, self.last_words())
        if self.beside is not None:
            self.stable.children.end(self.beside)
        shutil.rmtree(self.home, ignore_errors=True)
        return wrong


class Stable:
    """Where running brokers are kept: at most one runs at a time, the others are paused or ended."""

    def __init__(self, children, directory, core):
        self.children, self.directory, self.core = children, directory, core
        self.ports = machine.Ports()
        self.kept = {}

    def get(self, peer, fresh):
        broker = self.kept.pop(peer.name, None)
        if broker is not None and (fresh or machine.has_left(broker.child)):
            broker.end()
            broker = None
        if broker is None:
            return Broker(self, peer)
        broker.resume()
        return broker

    def put_back(self, broker, well):
        """After a run; well: it may be used again. Returns what was wrong with its end, or None."""
        if broker.peer.is_kept and well and not machine.has_left(broker.child):
            broker.pause()
            self.kept[broker.peer.name] = broker
            return None
        return broker.end()

    def empty(self):
        while self.kept:
            self.kept.popitem()[1].end()
