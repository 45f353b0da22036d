# SPDX-License-Identifier: Apache-2.0
"""plots.py: the curves of growth as SVG, drawn by gnuplot from the results alone: same results, same files."""
import os
import shutil
import subprocess
from dataclasses import dataclass

from . import goals
from .scenarios import GROWTH_SCENARIOS


@dataclass(frozen=True)
class Plot:
    file: str
    title: str
    axis: str
    scenarios: tuple  # names


PLOTS = (
    Plot("connections.svg", "Connections", "connections", ("growth-pairs", "growth-idle")),
    Plot("subscriptions.svg", "Subscriptions", "subscriptions", ("growth-exact", "growth-wildcard")),
    Plot("queue.svg", "Queue length", "messages waiting", ("growth-waiting", "growth-through")),
)

HEAD = """\
set terminal svg size 640,380 font "sans-serif,12" background "white"
set output "%s"
set logscale x
set format x "10^{%%T}"
set xlabel "%s"
set ylabel "CPU per message, forwarder = 1"
set yrange [0:*]
set offsets 0, 0, graph 0.1, 0
set key below left Left reverse vertical
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
"""
COLOURS = ("#1f5fa8", "#c2571a")


def curves(results, plot):
    """[(scenario, [(x, Spread)])] of those that were measured."""
    found = [(scenario, goals.curve(results, scenario)) for scenario in GROWTH_SCENARIOS if scenario.name in plot.scenarios]
    return [(scenario, points) for scenario, points in found if points]


def script(results, plot, path):
    text, parts = HEAD % (path, plot.axis), []
    for i, (scenario, points) in enumerate(curves(results, plot)):
        rows = "\n".join("%d %.4f %.4f %.4f" % (x, s.median, s.least, s.most) for x, s in points)
        text += "$d%d << end\n%s\nend\n" % (i, rows)
        parts.append('$d%d using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb "%s" title "%s (rise: %.2f)"'
                     % (i, COLOURS[i], scenario.title, goals.rise(points)))
        parts.append('$d%d using 1:2:3:4 with yerrorbars pt 0 lc rgb "%s" notitle' % (i, COLOURS[i]))
    return text + "plot " + ", \\\n     ".join(parts) + "\n"


def draw(results, directory):
    """Draws what there are results for; returns why not, or None."""
    if shutil.which("gnuplot") is None:
        return "gnuplot is missing: the plots were not drawn"
    for plot in PLOTS:
        if curves(results, plot):
            done = subprocess.run(["gnuplot"], input=script(results, plot, os.path.join(directory, plot.file)), text=True,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=30, check=False)
            if done.returncode != 0:
                return "gnuplot: " + done.stderr.strip()
    return None
