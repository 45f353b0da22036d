# SPDX-License-Identifier: Apache-2.0
"""The harness itself: a broker that ends badly must make a test fail. The brokers here are small scripts that behave badly."""
import os
import tempfile
import unittest
from unittest import mock

import harness

SCRIPT = """#!/usr/bin/python3
import signal, sys, time
print("weir: listening on 127.0.0.1:1 (mqtt, stomp)", flush=True)
%s
"""


class BadEndings(unittest.TestCase):
    def broker(self, code):
        handle, path = tempfile.mkstemp(prefix="weir-e2e-", suffix=".py")
        self.addCleanup(os.unlink, path)
        with os.fdopen(handle, "w") as file:
            file.write(SCRIPT % code)
        os.chmod(path, 0o700)
        with mock.patch.object(harness, "WEIR_BIN", path), mock.patch.object(harness, "PEER", ""):
            broker = harness.Broker()
        self.addCleanup(broker.kill)
        return broker

    def ends_badly(self, code, says):
        broker = self.broker(code)
        with mock.patch.object(harness, "STOP_S", 1), self.assertRaisesRegex(AssertionError, says):
            broker.wait_line("ready")
            broker.stop()

    def test_good_end(self):
        broker = self.broker("signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); print('ready', flush=True)\n"
                             "while True: time.sleep(1)")
        self.assertEqual(broker.port, 1)
        broker.wait_line("ready")
        broker.stop()

    def test_killed_by_the_signal(self):
        self.ends_badly("print('ready', flush=True)\nwhile True: time.sleep(1)", "exit code -15")

    def test_exit_code(self):
        self.ends_badly("signal.signal(signal.SIGTERM, lambda *a: sys.exit(3)); print('ready', flush=True)\n"
                        "while True: time.sleep(1)", "exit code 3")

    def test_ended_before(self):
        for code in (1, 0):
            broker = self.broker("sys.exit(%d)" % code)
            broker.child.wait()
            with self.assertRaisesRegex(AssertionError, "by itself with exit code %d" % code):
                broker.stop()

    def test_does_not_stop(self):
        self.ends_badly("signal.signal(signal.SIGTERM, lambda *a: None); print('ready', flush=True)\n"
                        "while True: time.sleep(1)", "has not stopped")

    def test_sanitizer_report(self):
        for line in ("==1==ERROR: AddressSanitizer: heap-use-after-free", "x.c:1:2: runtime error: shift exponent",
                     "==1==ERROR: LeakSanitizer: detected memory leaks", "WARNING: ThreadSanitizer: data race"):
            self.ends_badly("signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); print(%r); print('ready', flush=True)\n"
                            "while True: time.sleep(1)" % line, "report")

    def test_never_says_where(self):
        with self.assertRaises(harness.TimeOut):
            self.broker("").wait_line("no such line")


class BadTests(unittest.TestCase):
    def test_time_out(self):
        """A test that hangs is ended and counts as failed."""
        class Hangs(harness.E2E):
            ARGS, SECONDS = None, 0.2

            @harness.mqtt_only
            def test(self):
                harness.wait_for("nothing", lambda: False)

        result = unittest.TestResult()
        Hangs("test").run(result)
        self.assertEqual(len(result.errors), 1)
        self.assertIn("takes longer than", result.errors[0][1])


if __name__ == "__main__":
    harness.main()
