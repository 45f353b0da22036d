# SPDX-License-Identifier: Apache-2.0
"""results.py: the figures of all runs, on disk and by name.

    docs/benchmarks/results.json    {"machine", "brokers", "missing", "scenarios": {name: {"date", "runs": [run, ...]}}}

A run is what measure.py makes; one line of the file each. Medians are over rounds. Ratios are made in each round from the
two brokers' runs, seconds apart, and the median is taken of them: what changes from minute to minute drops out.
"""
import json
import os
import statistics


class Spread:
    """A median with its range; counts as nothing when there are no values."""

    def __init__(self, values):
        self.values = sorted(values)

    def __bool__(self):
        return bool(self.values)

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def least(self):
        return self.values[0]

    @property
    def most(self):
        return self.values[-1]


class Results:
    def __init__(self, content):
        self.content = content

    @property
    def scenarios(self):
        return self.content["scenarios"]

    def runs(self, scenario, broker=None, x=None):
        return [run for run in self.scenarios.get(scenario, {"runs": []})["runs"]
                if broker in (None, run["broker"]) and x in (None, run.get("x"))]

    def by_round(self, scenario, broker, row, key, x=None):
        """{round: value}; runs that failed, and figures that are not known, have none."""
        found = {}
        for run in self.runs(scenario, broker, x):
            value = figure(run, row, key)
            if value is not None:
                found[run["round"]] = value
        return found

    def spread(self, scenario, broker, row, key, x=None):
        return Spread(self.by_round(scenario, broker, row, key, x).values())

    def ratio(self, scenario, broker, other, row, key, x=None):
        """broker's figure to other's, round by round."""
        ours, theirs = (self.by_round(scenario, name, row, key, x) for name in (broker, other))
        return Spread(ours[i] / theirs[i] for i in ours if theirs.get(i))

    def difference(self, scenario, broker, other, row, key):
        ours, theirs = (self.by_round(scenario, name, row, key) for name in (broker, other))
        return Spread(ours[i] - theirs[i] for i in ours if i in theirs)

    def others(self):
        """How busy the machine was with something else, over all runs."""
        return Spread(run["others"] for entry in self.scenarios.values() for run in entry["runs"] if "others" in run)

    # ---- on disk ----------------------------------------------------------------------------------------------

    def save(self, path):
        lines = []
        for name in sorted(self.scenarios):
            entry = self.scenarios[name]
            runs = ",\n".join("  " + json.dumps(run, ensure_ascii=False) for run in entry["runs"])
            lines.append(" %s: {\"date\": %s, \"runs\": [\n%s\n ]}" % (json.dumps(name), json.dumps(entry["date"]), runs))
        head = {key: value for key, value in self.content.items() if key != "scenarios"}
        text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write("%s,\n \"scenarios\": {\n%s\n }\n}\n" % (text, ",\n".join(lines)))
        os.replace(path + ".new", path)


def load(path):
    """None if there is no such file."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return Results(json.load(file))


def figure(run, row, key):
    rows = run.get("rows", [])
    if "error" in run or not -len(rows) <= row < len(rows):
        return None
    value = rows[row]
    for part in key.split(".", 1):  # latency_us.p99.9 has a dot of its own
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None or key in ("broker_cpu_ns", "broker_share") and value < 0 else value
