# SPDX-License-Identifier: Apache-2.0
"""goals.py: what Weir is to reach, and whether it does.

    Goal("1→1 QoS 0", "at least", 0.60, ratio("pairs-1-q0"))

Each goal has a function from Results to a Spread; its median decides. A goal without a value was not measured, and is not
reached.
"""
from dataclasses import dataclass
from typing import Callable

from .results import Spread
from .scenarios import FORWARDER, GROWTH_SCENARIOS, WEIR

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Goal:
    what: str
    sense: str        # "at least", "at most" or "less than"
    bound: float
    measure: Callable  # Results -> Spread
    unit: str = "ratio"

    def is_reached(self, spread):
        if not spread:
            return False
        value = spread.median
        return {"at least": value >= self.bound, "at most": value <= self.bound, "less than": value < self.bound}[self.sense]


def ratio(scenario):
    return lambda results: results.ratio(scenario, WEIR, FORWARDER, 0, "per_s")


def own(scenario, row, key):
    return lambda results: results.spread(scenario, WEIR, row, key)


def above_forwarder(scenario, key):
    return lambda results: results.difference(scenario, WEIR, FORWARDER, 0, key)


def storm_growth(results):
    first, last = (results.by_round("storms", WEIR, row, "rss_anon_out_bytes") for row in (1, -1))
    return Spread(last[i] / first[i] for i in first if i in last)


# ------------------------------------------------------------------------------------------------ curves

# Which rows of a report are the cost of a message: behind the subscribing only the messages count; what goes through a
# queue costs its way in and its way out.
COST_ROWS = {"pairs": (0,), "subs": (1,), "offline": (0, 1)}


def cost(results, scenario, broker, x):
    """{round: CPU ns per message}."""
    command = scenario.instead.get(broker, (scenario.command,))[0]
    parts = [results.by_round(scenario.name, broker, row, "broker_cpu_ns", x) for row in COST_ROWS[command]]
    return {i: sum(part[i] for part in parts) for i in parts[0] if all(i in part for part in parts)}


def curve(results, scenario):
    """[(x, Spread of Weir's cost to the forwarder's)] of a scenario with points."""
    found = []
    for point in scenario.points:
        ours, limit = (cost(results, scenario, broker, point[0]) for broker in (WEIR, FORWARDER))
        spread = Spread(ours[i] / limit[i] for i in ours if limit.get(i))
        if spread:
            found.append((point[0], spread))
    return found


def rise(points):
    """The largest factor by which a curve rises from any point to a later one; falling does not make up for it."""
    return max((b[1].median / a[1].median for i, a in enumerate(points) for b in points[i:]), default=None)


def rise_of(scenario):
    def measure(results):
        points = curve(results, scenario)
        return Spread([rise(points)] if len(points) == len(scenario.points) else [])
    return measure


# ------------------------------------------------------------------------------------------------ the goals

GOALS = (
    Goal("÷ forwarder: 1→1 QoS 0", "at least", 0.60, ratio("pairs-1-q0")),
    Goal("÷ forwarder: 1→1 QoS 1", "at least", 0.85, ratio("pairs-1-q1")),
    Goal("÷ forwarder: 1→1 QoS 2", "at least", 0.80, ratio("pairs-1-q2")),
    Goal("÷ forwarder: 50→50 QoS 0", "at least", 0.70, ratio("pairs-50-q0")),
    Goal("÷ forwarder: 50→50 QoS 1", "at least", 0.65, ratio("pairs-50-q1")),
    Goal("÷ forwarder: 50→50 QoS 2", "at least", 0.60, ratio("pairs-50-q2")),
    Goal("÷ forwarder: 1→100 QoS 0", "at least", 0.80, ratio("fanout-100-q0")),
    Goal("÷ forwarder: 1→100 QoS 1", "at least", 0.75, ratio("fanout-100-q1")),
    Goal("÷ forwarder: 100→1 QoS 0", "at least", 0.80, ratio("fanin-100-q0")),
    Goal("÷ forwarder: 1→1 QoS 0, 1 KiB", "at least", 0.70, ratio("pairs-1-q0-1k")),
    Goal("system calls per message, 1→1 QoS 0", "less than", 0.02, own("syscalls-1-q0", 0, "syscalls_per_message")),
    Goal("system calls per message, 50→50 QoS 0", "less than", 0.02, own("syscalls-50-q0", 0, "syscalls_per_message")),
    Goal("p50 at 10,000 msg/s − forwarder's, QoS 0", "at most", 4, above_forwarder("rate-q0", "latency_us.p50"), "us"),
    Goal("p50 at 10,000 msg/s − forwarder's, QoS 1", "at most", 4, above_forwarder("rate-q1", "latency_us.p50"), "us"),
    Goal("STOMP /topic 1→1, msg/s", "at least", 2e6, own("stomp-topic", 0, "per_s"), "count"),
    Goal("MQTT → STOMP, msg/s: the same order", "at least", 1e6, own("mqtt-to-stomp", 0, "per_s"), "count"),
    Goal("RssAnon after the start", "at most", MIB, own("start", 0, "rss_anon_bytes"), "bytes"),
    Goal("RSS after the start", "at most", 4 * MIB, own("start", 0, "rss_bytes"), "bytes"),
    Goal("bytes per idle connection", "at most", 400, own("idle-0", 0, "bytes_per_connection"), "count"),
    Goal("bytes per idle connection with a subscription", "at most", 650, own("idle-1", 0, "bytes_per_connection"), "count"),
    Goal("bytes per retained topic, payload included", "at most", 300, own("retained", 0, "bytes_per_topic"), "count"),
    Goal("replay of 1,000,000 retained messages to `#`", "at most", 0.7, own("retained", 1, "seconds"), "seconds"),
    Goal("CPU per connect", "at most", 35, own("connect", 0, "cpu_us_per_connect"), "us"),
    Goal("RssAnon after the tenth storm ÷ after the first", "at most", 1.02, storm_growth),
    Goal("rate after ageing ÷ before", "at least", 0.95, own("ageing", -1, "rate_ratio")),
) + tuple(Goal("CPU per message ÷ forwarder's rises by, " + scenario.title, "at most", 2, rise_of(scenario))
          for scenario in GROWTH_SCENARIOS)
