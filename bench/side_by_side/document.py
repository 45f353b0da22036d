# SPDX-License-Identifier: Apache-2.0
"""document.py: docs/benchmarks.md, and the same tables for a terminal, from Results.

    group ─► table: a line for each scenario and broker; a cell is the median of the rounds with its range
"""
from . import goals, plots
from .measure import WRONG
from .scenarios import FORWARDER, GROUPS, SCENARIOS, WEIR

PATH, FOLDER = "docs/benchmarks.md", "docs/benchmarks"

INTRODUCTION = """\
# Benchmarks

<!-- made by: ./dev bench; do not edit -->

Weir beside other brokers and beside a bare forwarder, on one machine, in the same minutes. To repeat it (Debian, about half an
hour on a quiet machine):

    ./dev bench                 # everything; rewrites this file and %(folder)s/
    ./dev bench --list          # the scenarios
    ./dev bench pairs-1-q0      # only that, to the terminal

## How it is measured

- The load comes from [weir-bench](../bench/README.md): one thread, no allocation per message, closed loop (so nothing is
  lost by overrunning a broker) unless said. **Every message is counted and its content checked**; what was lost, duplicated,
  reordered or corrupted is in the tables.
- **forwarder** is the limit of the machine: the least that can be called forwarding MQTT, with no sessions, wildcards,
  retained messages or checks. A figure divided by the forwarder's says what a broker adds.
- %(cores)s
- Rounds are interleaved: forwarder, Weir, the others, then again. Every run starts its broker anew unless said. A cell is
  the median of the rounds with (least–most). Ratios are taken in each round, then the median of them.
- **CPU/msg** is the broker's CPU time, kernel included, per received message. It depends least on who else uses the
  machine, so it is the figure to compare. **Its core** is the share of one core the broker used: well below 100 %%, both
  sides wait for each other, and msg/s says as much about the scheduler.
- While these were measured, something else used %(others)s of a core.

%(facts)s
"""

GROWTH = """\
CPU per message divided by the forwarder's under the same load: flat means that a broker with much in it costs no more per
message. The forwarder has no wildcards and no queues: beside wildcard filters it has exact ones for the same messages, beside
waiting messages none, and what goes through a queue (QoS 1, in and out) is compared with a QoS 1 message that it passes on at
once; the shorter that queue, the more its start weighs. With more pairs at work each has fewer messages on their way (5,000
in all, but at least 50 each). The largest rise from any point to a later one is given; the goal is 2.
"""


# ------------------------------------------------------------------------------------------------ numbers

def short(value):
    for bound, suffix in ((1e6, " M"), (1e4, " k")):
        if abs(value) >= bound:
            scaled = value / (1e6 if suffix == " M" else 1e3)
            return ("%.0f" if scaled >= 100 else "%.1f" if scaled >= 10 else "%.2f") % scaled + suffix
    return format(round(value), ",") if abs(value) >= 100 else "%.3g" % value


def number(value, unit):
    if unit == "bytes":
        return "%.1f MiB" % (value / 2 ** 20) if value >= 2 ** 20 else "%.0f KiB" % (value / 1024)
    if unit == "ns":
        return "%.3g µs" % (value / 1000) if value >= 1000 else "%.0f ns" % value
    if unit == "us":
        return "%.3g ms" % (value / 1000) if value >= 1000 else "%.0f µs" % value if value >= 100 else "%.1f µs" % value
    if unit == "seconds":
        return "%.3g s" % value
    if unit == "share":
        return "%.0f %%" % (100 * value)
    if unit == "exact":
        return "%.3f" % value
    if unit == "ratio":
        return "%.2f" % value if value >= 0.1 else "%.2g" % value
    return short(value)


def cell(spread, unit):
    if not spread:
        return "–"
    median = number(spread.median, unit)
    least, most = number(spread.least, unit), number(spread.most, unit)
    between = "–" if spread.least >= 0 else " to "
    return median if least == most or unit == "share" else "%s (%s%s%s)" % (median, least, between, most)


def times(spread):
    """A ratio that may be large."""
    if not spread:
        return "–"
    value = spread.median
    return "%.1g" % value if value < 0.1 else "%.2f" % value if value < 10 else "%.1f" % value if value < 100 else "%.0f" % value


# ------------------------------------------------------------------------------------------------ tables

def wrong(results, scenario, broker):
    """Errors of all rounds, in words; empty when every message was right."""
    runs = results.runs(scenario.name, broker)
    counts = {what: sum(row.get(what, 0) for run in runs for row in run.get("rows", ())) for what in WRONG}
    words = ["%s %s" % (short(n), what) for what, n in counts.items() if n > 0]
    failed = [run["error"] for run in runs if "error" in run]
    if failed:
        words.append("%d of %d runs failed: %s" % (len(failed), len(runs), failed[-1]))
    return ", ".join(words)


def size_note(results, scenario, broker):
    sizes = {run["n"] for run in results.runs(scenario.name, broker) if "n" in run}
    if scenario.points or not sizes or sizes == {scenario.n}:
        return ""
    return "N = " + ", ".join(format(n, ",") for n in sorted(sizes))


def brokers_of(results, scenario):
    names = {run["broker"] for run in results.runs(scenario.name)}
    return [name for name in results.content["brokers"] if name in names]


def line(results, group, scenario, broker):
    """Cells of one line, without the scenario's name."""
    cells = []
    for i, column in enumerate(group.columns):
        cells.append(cell(results.spread(scenario.name, broker, column.row, column.key), column.unit))
        if group.compare and i == 0:
            cells.append(times(results.ratio(scenario.name, broker, FORWARDER, column.row, column.key)))
            cells.append("" if broker == WEIR else
                         times(results.ratio(scenario.name, WEIR, broker, column.row, column.key)))
    notes = [note for note in (size_note(results, scenario, broker), wrong(results, scenario, broker)) if note]
    cells.append("; ".join(notes))
    cells.append(str(len(results.runs(scenario.name, broker))))
    return cells


def heading(group):
    titles = [column.title for column in group.columns]
    if group.compare:
        titles[1:1] = ["÷ forwarder", "Weir ÷ it"]
    return titles + ["not as it should be", "runs"]


def table(results, group):
    """[heading, line, ...] of a group; lines are lists of cells, the first two scenario and broker."""
    lines = []
    for scenario in SCENARIOS:
        if scenario.group != group.name:
            continue
        for i, broker in enumerate(brokers_of(results, scenario)):
            title = results.content["brokers"][broker]["title"]
            lines.append(["" if i else scenario.title, title] + line(results, group, scenario, broker))
    return [["", "broker"] + heading(group)] + lines if lines else []


def glance_table(results):
    """How many times Weir's rate is that of each other broker."""
    names = [name for name in results.content["brokers"] if name != WEIR]
    titles = [results.content["brokers"][name]["title"] for name in names]
    lines = []
    for scenario in SCENARIOS:
        group = next(group for group in GROUPS if group.name == scenario.group)
        if group.compare and results.runs(scenario.name, WEIR):
            column = group.columns[0]
            lines.append([("" if "MQTT" in group.title + scenario.title else "STOMP ") + scenario.title,
                          cell(results.spread(scenario.name, WEIR, column.row, column.key), column.unit)] +
                         [times(results.ratio(scenario.name, WEIR, name, column.row, column.key)) for name in names])
    return [["", "Weir, msg/s"] + ["÷ " + title for title in titles]] + lines if lines else []


def growth_table(results):
    lines = []
    for scenario in SCENARIOS:
        if scenario.group != "growth" or not results.runs(scenario.name):
            continue
        points = dict(goals.curve(results, scenario))
        for i, point in enumerate(scenario.points):
            x = point[0]
            costs = [results_cost(results, scenario, broker, x) for broker in (WEIR, FORWARDER)]
            lines.append(["" if i else scenario.title, format(x, ",")] + costs +
                         [cell(points[x], "ratio") if x in points else "–"])
        notes = "; ".join(filter(None, (wrong(results, scenario, broker) for broker in (WEIR, FORWARDER))))
        if notes:
            lines[-1][-1] += " " + notes
    return [["", "N", "Weir, CPU/msg", "forwarder", "ratio"]] + lines if lines else []


def results_cost(results, scenario, broker, x):
    return cell(goals.Spread(goals.cost(results, scenario, broker, x).values()), "ns")


def goals_table(results):
    lines = []
    for goal in goals.GOALS:
        spread = goal.measure(results)
        verdict = "not measured" if not spread else "yes" if goal.is_reached(spread) else "**NO**"
        digits = "exact" if goal.unit == "ratio" else goal.unit
        lines.append([goal.what, "%s %s" % (goal.sense, number(goal.bound, goal.unit)), cell(spread, digits), verdict])
    return [["goal", "", "measured", "reached?"]] + lines


def markdown(lines):
    if not lines:
        return ""
    rows = ["| %s |" % " | ".join(text.replace("|", "\\|") for text in row) for row in lines]
    return "\n".join(rows[:1] + ["|%s" % ("---|" * len(lines[0]))] + rows[1:]) + "\n"


def plain(lines):
    """The same for a terminal."""
    clean = [[text.replace("**", "") for text in row] for row in lines]
    widths = [max(len(row[i]) for row in clean) for i in range(len(clean[0]))] if clean else []
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in clean)


# ------------------------------------------------------------------------------------------------ the document

def facts(content):
    machine, lines = content["machine"], []
    lines.append("Machine: %s, %d cores, %d GiB, %s, Linux %s; %s open files at most per process." %
                 (machine["processor"], machine["cores"], machine["memory_gib"], machine["system"], machine["kernel"],
                  format(machine["open_files"], ",")))
    dates = sorted({entry["date"] for entry in content["scenarios"].values()})
    lines.append("Date: %s%s." % (dates[0], "" if len(dates) == 1 else " to " + dates[-1]))
    rows = [["broker", "version", "configuration"]]
    rows += [[b["title"], b["version"], b["how"]] for b in content["brokers"].values()]
    text = "\n".join(lines) + "\n\n" + markdown(rows)
    for name, why in content["missing"].items():
        text += "\nNot measured: %s (%s)." % (name, why)
    return text + ("\n" if content["missing"] else "")


def others_text(results):
    others = results.others()
    return "%.2f (median; at most %.2f)" % (others.median, others.most) if others else "an unknown part"


def core_text(content):
    if content["machine"]["cores"] > 1:
        return "The broker has one core to itself, the generator another (taskset)."
    return "This machine has one core: broker and generator shared it, and figures per second are those of the pair."


def left_out(results):
    missing = [s.name for s in SCENARIOS if not results.runs(s.name)]
    return "Not measured, for want of time or because they were not asked for: %s.\n" % ", ".join(missing) if missing else ""


def document(results):
    content = results.content
    parts = [INTRODUCTION % {"folder": FOLDER, "cores": core_text(content), "others": others_text(results),
                             "facts": facts(content)},
             "## Goals\n\nThe median decides. Those that are not reached are marked **NO**.\n\n" +
             markdown(goals_table(results))]
    if glance_table(results):
        parts.append("## At a glance\n\nReceived messages per second, and how many times those of the others they are.\n\n" +
                     markdown(glance_table(results)))
    for group in GROUPS:
        if group.name == "growth":
            continue
        rows = table(results, group)
        if rows:
            parts.append("## %s\n\n%s\n\n%s" % (group.title, group.text.strip(), markdown(rows)))
    rows = growth_table(results)
    if rows:
        pictures = "\n".join("![%s](benchmarks/%s)" % (plot.title, plot.file) for plot in plots.PLOTS
                             if plots.curves(results, plot))
        parts.append("## Growth\n\n%s\n%s\n\n%s" % (GROWTH, pictures, markdown(rows)))
    parts.append("## Raw figures\n\nEvery run: [benchmarks/results.json](benchmarks/results.json). " + left_out(results))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def for_terminal(results):
    parts = [plain(table(results, group)) for group in GROUPS if group.name != "growth"] + [plain(growth_table(results))]
    return "\n\n".join(part for part in parts if part)
