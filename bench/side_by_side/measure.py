# SPDX-License-Identifier: Apache-2.0
"""measure.py: runs scenarios and keeps what they give.

    for each scenario, for each round, for each point of a curve, for each broker that takes part:
        start it (fresh, its directory and ports its own) ─► weir-bench on the other core ─► end it ─► one run

A run is a dict: broker, round, n, x (curves), rows (weir-bench's, as they are), others (processor time that neither broker
nor generator used, in cores: how quiet the machine was), and error when something went wrong. Nothing that goes wrong with
one run ends the others.

Time: no run may take longer than RUN_S, its start included. When most of the whole run's time is gone (Clock), what is left
is done in one round; when all is gone, it is left out, and said to be.
"""
import json
import os
import re
import resource
import subprocess
import tempfile
import time

from . import machine
from .broker import Failure
from .scenarios import OURS, WEIR

RUN_S = 60
HURRY = 0.85    # of the time: from then on one round
STRACE_S = 5    # to attach
STARTS = 2      # that fail, and a peer is given up


class Clock:
    def __init__(self, minutes):
        self.start, self.all_s = time.monotonic(), minutes * 60

    def seconds(self):
        return time.monotonic() - self.start

    def hurries(self):
        return self.seconds() > HURRY * self.all_s

    def is_over(self):
        return self.seconds() + RUN_S > self.all_s


def child_seconds():
    """Processor time of children that have ended: generators and those brokers that were ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    """weir-bench against brokers."""

    def __init__(self, build, children, stable, generator_core, say):
        self.program = os.path.join(build, "weir-bench")
        self.children, self.stable, self.core, self.say = children, stable, generator_core, say
        self.failed_starts = {}  # name -> why, each time

    def run(self, scenario, peer, point):
        """One run, without its round."""
        began = time.monotonic()
        run = {"broker": peer.name}
        if point is not None:
            run["x"] = point[0]
        broker = None
        try:
            broker = self.stable.get(peer, scenario.fresh)
            getattr(self, "run_" + scenario.kind)(scenario, broker, point, run, began)
        except (Failure, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            run["error"] = str(error) or type(error).__name__
        if broker is None:
            self.failed_starts.setdefault(peer.name, []).append(run["error"])
        else:
            gone = self.stable.put_back(broker, well="error" not in run)
            if gone is not None:
                run["error"] = gone
        run["seconds"] = round(time.monotonic() - began, 1)
        return run

    # ---- kinds ------------------------------------------------------------------------------------------------

    def run_bench(self, scenario, broker, point, run, began):
        argv = self.command(scenario, broker, point, run)
        busy, used = machine.busy_seconds(), child_seconds() + machine.cpu_seconds(broker.pid)
        start = time.monotonic()
        self.generate(argv, run, RUN_S - (start - began))
        if not machine.has_left(broker.child):
            used = child_seconds() + machine.cpu_seconds(broker.pid) - used
            others = (machine.busy_seconds() - busy - used) / (time.monotonic() - start)
            run["others"] = round(max(others, 0), 2)

    def run_start(self, scenario, broker, point, run, began):
        time.sleep(0.5)  # let it finish what it does after it has opened its ports
        run["rows"] = [dict(machine.memory(broker.pid), name="start")]

    def run_syscalls(self, scenario, broker, point, run, began):
        with tempfile.TemporaryDirectory(dir=self.stable.directory) as directory:
            summary, words = os.path.join(directory, "summary"), os.path.join(directory, "words")
            with open(words, "wb") as output:
                tracer = self.children.start(["strace", "-f", "-c", "-o", summary, "-p", str(broker.pid)], self.core,
                                             stdout=output, stderr=output)
            try:
                wait_for_text(tracer, words, "attached")
                self.generate(self.command(scenario, broker, point, run), run, RUN_S - (time.monotonic() - began))
            finally:
                self.children.end(tracer)
            calls = total_calls(machine.read_text(summary))
        row = run["rows"][0]
        row["syscalls"], row["syscalls_per_message"] = calls, calls / row["received"]

    # ---- weir-bench -------------------------------------------------------------------------------------------

    def command(self, scenario, broker, point, run):
        name = broker.peer.name
        command, n, options = scenario.instead.get(name, (scenario.command, scenario.n, scenario.options))
        if point is not None and name not in scenario.instead:
            n, options = point[1], options + point[2]
        n = scenario.sizes.get(name, n)
        run["n"] = n
        return [self.program, command, str(n), "--port", str(broker.ports.mqtt), "--stomp-port", str(broker.ports.stomp),
                "--pid", str(broker.pid), "--seconds", str(scenario.seconds), *options, *scenario.more.get(name, ())]

    def generate(self, argv, run, left_s):
        """Runs it for at most left_s and puts its rows into run."""
        with tempfile.TemporaryDirectory(dir=self.stable.directory) as directory:
            result, words = os.path.join(directory, "result"), os.path.join(directory, "words")
            limit = max(int(left_s) - 2, 1)
            with open(words, "wb") as output:
                child = self.children.start(argv + ["--json", result, "--limit", str(limit)], self.core, stderr=output)
            try:
                child.wait(limit + 2)
            finally:
                self.children.end(child)
            if os.path.exists(result):
                with open(result, encoding="utf-8") as file:
                    run["rows"] = [tidy(row) for row in json.load(file)["rows"]]
            if child.returncode != 0 and not is_wrong(run):
                raise Failure(own_words(machine.read_text(words)) or "weir-bench ended with %d" % child.returncode)

    # ---- rounds -----------------------------------------------------------------------------------------------

    def rounds(self, scenario, peers, clock, most=None):
        """All runs of a scenario; fewer when time is short."""
        takers = [peer for peer in peers if scenario.takes(peer) and peer.name not in self.given_up()]
        runs = []
        for number in range(1, max(scenario.rounds, scenario.peer_rounds) + 1):
            if number > 1 and (clock.hurries() or most is not None and number > most):
                break
            for point in scenario.points or (None,):
                for peer in list(takers):
                    if number > scenario.rounds_of(peer.name) or clock.is_over():
                        continue
                    run = self.run(scenario, peer, point)
                    run["round"] = number
                    runs.append(run)
                    self.say(scenario, run, clock)
                    if "error" in run and peer.name not in OURS:
                        takers.remove(peer)  # it has had its minute
        return runs

    def given_up(self):
        """{name: why} of brokers that do not start."""
        return {name: why[-1] for name, why in self.failed_starts.items() if len(why) >= STARTS}


# ------------------------------------------------------------------------------------------------ small things

def wait_for_text(child, path, text):
    deadline = time.monotonic() + STRACE_S
    while text not in machine.read_text(path):
        if machine.has_left(child) or time.monotonic() > deadline:
            raise Failure("strace did not attach: " + machine.read_text(path).strip()[-200:])
        time.sleep(0.01)


def total_calls(summary):
    """The calls in the last line of strace's table: % time, seconds, usecs/call, calls, [errors,] `total`."""
    for line in summary.splitlines():
        words = line.split()
        if words and words[-1] == "total":
            return int(words[3])
    raise Failure("strace gave no summary")


def own_words(text):
    """weir-bench's last line that is not about its progress."""
    lines = [line for line in text.splitlines() if line.startswith("weir-bench: ")]
    return re.sub(r"^weir-bench: (FAILED: )?", "", lines[-1]) if lines else ""


def tidy(row):
    """Six digits are more than is known."""
    return {key: tidy(value) if isinstance(value, dict) else float("%.6g" % value) if isinstance(value, float) else value
            for key, value in row.items()}


WRONG = ("lost", "duplicated", "reordered", "corrupt")


def is_wrong(run):
    """Whether messages did not arrive as they should."""
    return any(row.get(what, 0) > 0 for row in run.get("rows", ()) for what in WRONG)


def headline(run):
    """The gist of a run in a few words."""
    if "error" in run:
        return "FAILED: " + run["error"]
    row = run["rows"][-1]
    if "per_s" not in row:
        return "RssAnon %d KiB" % (row["rss_anon_bytes"] // 1024)
    text = "%12s/s" % format(round(row["per_s"]), ",")
    if row["broker_cpu_ns"] >= 0:
        text += "  CPU %9s ns" % format(round(row["broker_cpu_ns"], 1), ",")
    for what in WRONG:
        if sum(r[what] for r in run["rows"]) > 0:
            text += "  %d %s" % (sum(r[what] for r in run["rows"]), what)
    return text


def is_ours_and_failed(run):
    return run["broker"] == WEIR and ("error" in run or is_wrong(run))
