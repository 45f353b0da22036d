# SPDX-License-Identifier: Apache-2.0
"""crash.py: what the crash tests share: a broker with a data directory that may be killed, faults, and recordings.

    broker = DurableBroker(directory)               its data is in directory/data; kill() is SIGKILL, as often as you like
    faults = Faults(directory)                      tests/crash/fault.c, preloaded: DurableBroker(..., faults=faults)
    faults.arm(FAIL_SYNC, errno.EIO, after=3)       changes at any time what goes wrong

Environment
  WEIR_BIN       the binary (tests/e2e/harness.py)
  WEIR_FAULT     the preload library; build/dev/tests/libweir_fault.so if unset
  CRASH_LONG     1: the long forms of the tests (./dev crash); else those that fit into ./dev test
"""
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402

LONG = os.environ.get("CRASH_LONG", "") == "1"
FAULT = os.environ.get("WEIR_FAULT") or os.path.join(harness.ROOT, "build", "dev", "tests", "libweir_fault.so")
SMALL = ("persistence_segment_size 262144",)  # so that a short test meets segments that end, are copied and go

FAIL_WRITE, FAIL_GROW, FAIL_SYNC, FAIL_CREATE, FAIL_NAME, FAIL_DIR_SYNC, FAIL_ZEROS = 1, 2, 4, 8, 16, 32, 64


def sanitizer_library(path):
    """The run-time library of the sanitizer that a binary is linked with; it has to be preloaded before others. None: none."""
    try:
        listing = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"lib[at]san\S* => (\S+)", listing)
    return found.group(1) if found else None


class Faults:
    """fault.c's control page and record. The names below are struct control's fields, in order."""

    FIELDS = ("sync_delay_us", "fail_ops", "fail_after", "fail_errno", "fail_for_good", "short_bytes",
              "write_n", "sync_n", "create_n", "failed_n", "short_n")

    def __init__(self, directory, record=False):
        if not os.path.exists(FAULT):
            raise FileNotFoundError("no %s: ./dev test builds it, or name one in WEIR_FAULT" % FAULT)
        self.control, self.data = os.path.join(directory, "control"), os.path.join(directory, "data")
        self.record = os.path.join(directory, "record") if record else None
        with open(self.control, "wb") as file:
            file.write(b"\0" * mmap.PAGESIZE)
        with open(self.control, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.marks = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if record else -1

    def set(self, name, value):
        struct.pack_into("<q", self.map, 8 * self.FIELDS.index(name), value)

    def get(self, name):
        return struct.unpack_from("<q", self.map, 8 * self.FIELDS.index(name))[0]

    def arm(self, ops, error, after=0, for_good=False):
        self.set("fail_ops", 0)
        self.set("fail_errno", error)
        self.set("fail_after", after)
        self.set("fail_for_good", int(for_good))
        self.set("fail_ops", ops)

    def disarm(self):
        self.set("fail_ops", 0)

    def mark(self, data):
        """A mark in the record: what stands in front of it was done before."""
        entry = struct.pack("<B3xIQQQ", ord("M"), 0, 0, 0, len(data)) + data
        assert os.write(self.marks, entry) == len(entry)

    def environment(self, binary):
        libraries = [path for path in (sanitizer_library(binary), FAULT) if path]
        env = {"LD_PRELOAD": " ".join(libraries), "FAULT_DIR": self.data, "FAULT_CONTROL": self.control}
        if self.record:
            env["FAULT_RECORD"] = self.record
        return env

    def close(self):
        self.map.close()
        if self.marks != -1:
            os.close(self.marks)


class DurableBroker(harness.Process):
    """weir on directory/data. options: lines of its configuration."""

    def __init__(self, directory, *options, faults=None, wait=True):
        self.data = os.path.join(directory, "data")
        os.makedirs(self.data, exist_ok=True)
        config = os.path.join(directory, "weir.conf")
        with open(config, "w") as file:
            file.write("\n".join(("listener 0 127.0.0.1", "max_queued_messages 0", "max_queued_bytes 0",
                                  "queue_max_messages 0", "queue_max_bytes 0",
                                  "persistence_location " + self.data) + options) + "\n")
        env = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}
        if faults is not None:
            env.update(faults.environment(harness.WEIR_BIN))
        if not os.access(harness.WEIR_BIN, os.X_OK):
            raise FileNotFoundError("no broker at %s" % harness.WEIR_BIN)
        super().__init__([harness.WEIR_BIN, "-c", config], env=env)
        self.port = None
        if wait:
            self.wait_ready()

    def wait_ready(self, deadline_s=60):
        try:
            self.port = int(self.wait_line(harness.LISTENING, deadline_s).group(1))
        except harness.TimeOut:
            self.crash()
            raise
        return self.port

    def crash(self):
        """kill -9, and that it had not ended by itself."""
        early = self.child.poll()
        self.child.kill()
        self.child.wait()
        self.reader.join(harness.DEADLINE_S)
        self.child.stdout.close()
        report = harness.REPORTS.search(self.output())
        assert not report, "the broker printed a report:\n" + self.output()
        assert early is None, "the broker ended by itself with %s:\n%s" % (early, self.output())

    def stop(self):
        """SIGTERM; the exit code must be 0."""
        self.child.send_signal(signal.SIGTERM)
        code = self.wait(harness.STOP_S * 2)
        self.child.stdout.close()
        report = harness.REPORTS.search(self.output())
        assert not report, "the broker printed a report:\n" + self.output()
        assert code == 0, "the broker ended with %d:\n%s" % (code, self.output())


class CrashTest(unittest.TestCase):
    """A directory of its own, a time-out, and no broker that outlives the test. When it fails, the brokers' logs are
    shown, and the directory is kept if CRASH_KEEP is set."""

    SECONDS = 280

    def setUp(self):
        warnings.simplefilter("ignore", ResourceWarning)  # of sockets, when a test has failed
        self.directory = tempfile.mkdtemp(prefix="weir-crash-")
        self.brokers, self.faults = [], []
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, self.SECONDS * (10 if LONG else 1))
        self.addCleanup(self._finish)

    def _on_alarm(self, number, frame):
        raise harness.TimeOut("the test takes too long")

    def _finish(self):
        signal.setitimer(signal.ITIMER_REAL, 0)
        for broker in self.brokers:
            broker.kill()
        for faults in self.faults:
            faults.close()
        if os.environ.get("CRASH_KEEP"):
            print("kept: " + self.directory, file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        self.brokers = []
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for broker in self.brokers[-3:]:
                print("\n---- log of a broker in %s\n%s\n----" % (self.id(), "\n".join(broker.lines[-60:])), file=sys.stderr)

    def start(self, *options, **more):
        broker = DurableBroker(self.directory, *options, **more)
        self.brokers.append(broker)
        return broker

    def inject(self, record=False):
        faults = Faults(self.directory, record)
        os.makedirs(faults.data, exist_ok=True)
        self.faults.append(faults)
        return faults

    def nothing_wrong(self, world, what=""):
        self.assertEqual(world.wrong[:20], [], what)


def say(text):
    """Progress, in the test's output."""
    print(text, file=sys.stderr, flush=True)
