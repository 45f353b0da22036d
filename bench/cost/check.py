#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check.py: has a message become more expensive? Instructions per message, on a simulated processor, against a record.

    bench/cost/check.py                       compares build/release/weir-micro with bench/cost/instructions.txt
    bench/cost/check.py --record              writes instructions.txt anew; commit it with the change that it belongs to
    bench/cost/check.py --where SCENARIO      the functions in which that scenario's instructions are spent
    bench/cost/check.py --self-test           can this find what it looks for?
    bench/cost/check.py --binary FILE ...     another weir-micro

`./dev cost [...]` does the same and builds what is needed first.

weir-micro plays each journey once under callgrind, which counts the instructions inside the broker's turns: from the
landmark stage_turn_counted, without the pipes at both ends (bench/micro/stage.h). Setting up and the first batches are
not counted. The same binary gives the same number each time, whatever else the machine does: the clock stands still,
seeds are fixed, the environment is made here, and the C library is told to use what every x86-64 processor has.

Exit code: 0 nothing grew by more than 5 %, or compiler, processor or C library are others than the record's (then the
figures are told, and not judged); 1 something grew, is not in the record, or a message got lost; 2 it could not be run.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RECORD = os.path.join(HERE, "instructions.txt")
BINARY = os.path.join(ROOT, "build", "release", "weir-micro")
VALGRIND = "/usr/bin/valgrind"
TELL_AGAIN = "./dev cost --record"
LIMIT = 0.05      # of the recorded figure
TIME_LIMIT_S = 120

COUNTED = "stage_turn_counted"                          # collection goes on here
AWAY = ("stage_away_recv", "stage_away_sendv")          # and off there
# What glibc would otherwise choose by processor: string functions, and thresholds taken from cache sizes.
BASELINE = ["AVX2", "AVX", "AVX_Fast_Unaligned_Load", "AVX512F", "AVX512VL", "AVX512BW", "BMI1", "BMI2", "ERMS", "FSRM",
            "LZCNT", "MOVBE", "POPCNT", "RTM", "SSSE3", "SSE4_1", "SSE4_2", "XSAVEC", "Fast_Unaligned_Copy",
            "Fast_Copy_Backward", "Prefer_ERMS", "Prefer_FSRM", "Slow_BSF", "Slow_SSE4_2"]
TUNABLES = ["glibc.cpu.hwcaps=" + ",".join("-" + name for name in BASELINE),
            "glibc.cpu.x86_non_temporal_threshold=0x10000000", "glibc.cpu.x86_rep_movsb_threshold=0x1000000",
            "glibc.cpu.x86_rep_stosb_threshold=0x1000000"]
ENVIRONMENT = {"LD_BIND_NOW": "1", "GLIBC_TUNABLES": ":".join(TUNABLES), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class CannotRun(Exception):
    pass


class Wrong(Exception):
    pass


# ------------------------------------------------------------------------------------------------ measuring

def run(argv, cwd):
    try:
        return subprocess.run(argv, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=TIME_LIMIT_S)
    except FileNotFoundError as e:
        raise CannotRun("%s is not there" % e.filename)
    except subprocess.TimeoutExpired:
        raise CannotRun("%s did not end within %d s" % (" ".join(argv), TIME_LIMIT_S))


def scenarios_of(binary):
    """The names of the journeys, from the program itself."""
    done = run(["./" + os.path.basename(binary), "--list", "journey/"], os.path.dirname(binary))
    names = re.findall(r"^journey/(\S+)", done.stdout, flags=re.M)
    if done.returncode != 0 or not names:
        raise CannotRun("%s --list: %s" % (binary, done.stderr.strip() or "no journeys"))
    return names


def condition(said):
    """What the figures depend on besides the code: "gcc 12, x86_64, glibc 2.36"."""
    compiler = re.search(r"^compiler (\S+) (\d+)", said, flags=re.M)
    machine = re.search(r"^machine (\S+)", said, flags=re.M)
    libc = re.search(r"^libc (\S+ \S+)", said, flags=re.M)
    if not (compiler and machine and libc):
        raise CannotRun("weir-micro --play does not say what it was made with")
    return "%s %s, %s, %s" % (compiler.group(1), compiler.group(2), machine.group(1), libc.group(1))


def play(binary, scenario, out_file, valgrind=VALGRIND):
    """(instructions per message, condition) of one scenario; callgrind's figures stay in out_file."""
    argv = [valgrind, "--tool=callgrind", "--callgrind-out-file=" + out_file, "--collect-atstart=no",
            "--combine-dumps=yes"]
    argv += ["--toggle-collect=" + name for name in (COUNTED,) + AWAY]
    # From its own folder and by a short name: the length of a path would move the stack.
    done = run(argv + ["./" + os.path.basename(binary), "--play", scenario], os.path.dirname(binary))
    if done.returncode != 0:
        own_words = [line for line in done.stderr.split("\n") if line and not line.startswith(("==", "##"))]
        raise Wrong("%s: %s" % (scenario, "\n".join(own_words) or done.stderr.strip()[-2000:]))
    messages = re.search(r"^messages (\d+)$", done.stdout, flags=re.M)
    with open(out_file, encoding="utf-8", errors="replace") as file:
        total = re.search(r"^(?:totals|summary): (\d+)", file.read(), flags=re.M)
    if not messages or not total or int(total.group(1)) == 0:
        raise CannotRun("%s: nothing was counted (is %s still called that?)" % (scenario, COUNTED))
    return int(total.group(1)) / int(messages.group(1)), condition(done.stdout)


def measure(binary, valgrind=VALGRIND):
    """(condition, {scenario: instructions per message})."""
    names = scenarios_of(binary)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(play, binary, name, os.path.join(folder, name), valgrind) for name in names]
        results = [job.result() for job in jobs]
    return results[0][1], dict(zip(names, (figure for figure, _ in results)))


# ------------------------------------------------------------------------------------------------ the record

HEADING = """\
# Instructions per message of each journey of weir-micro, counted by bench/cost/check.py. `%s` writes
# this file; it is committed with the change that made the figures what they are. More than 5 %% above: the tests fail.
""" % TELL_AGAIN


def write_record(path, made_with, figures):
    with open(path, "w", encoding="utf-8") as file:
        file.write(HEADING + "made with %s\n" % made_with)
        for name, figure in figures.items():
            file.write("%-20s %10.1f\n" % (name, figure))


def read_record(path):
    made_with, figures = None, {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        raise CannotRun("there is no record %s; %s makes one" % (path, TELL_AGAIN))
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        figure = re.fullmatch(r"(\S+)\s+(\d+\.\d+)", line.strip())
        if line.startswith("made with "):
            made_with = line[len("made with "):].strip()
        elif figure and figure.group(1) not in figures and float(figure.group(2)) > 0:
            figures[figure.group(1)] = float(figure.group(2))
        else:
            raise CannotRun("%s:%d: not \"scenario figure\": %s" % (path, number, line))
    if made_with is None or not figures:
        raise CannotRun("%s holds no record; %s makes one" % (path, TELL_AGAIN))
    return made_with, figures


def compare(old_with, old, new_with, new):
    """(exit code, lines to print)."""
    lines = ["%-20s %10s %10s %8s   instructions per message" % ("", "record", "now", "")]
    grown, shrunk, strange = [], [], []
    for name in list(new) + [name for name in old if name not in new]:
        if name not in old or name not in new:
            strange.append("%s is %s: write the record anew: %s"
                           % (name, "not in the record" if name in new else "in the record and no journey", TELL_AGAIN))
            continue
        change = new[name] / old[name] - 1
        lines.append("%-20s %10.1f %10.1f %+7.1f %%" % (name, old[name], new[name], round(100 * change, 1) + 0.0))
        if change > LIMIT:
            grown.append("%s takes %.1f instructions per message, the record says %.1f (%+.1f %%, at most +%d %%)"
                         % (name, new[name], old[name], 100 * change, 100 * LIMIT))
        elif change < -LIMIT:
            shrunk.append("%s takes %.1f instructions per message, the record says %.1f (%+.1f %%)"
                          % (name, new[name], old[name], 100 * change))
    if old_with != new_with:
        return 0, lines + ["not judged: the record was made with %s, this with %s" % (old_with, new_with)]
    if shrunk:
        lines += ["cheaper: " + text for text in shrunk]
        lines.append("lower the record, so that it stays that way: %s" % TELL_AGAIN)
    lines += ["FAILED: " + text for text in grown + strange]
    if grown:
        lines.append("where: ./dev cost --where %s" % grown[0].split()[0])
        lines.append("if it is worth it, say so in the change and write the record anew: %s" % TELL_AGAIN)
    return (1 if grown or strange else 0), lines


# ------------------------------------------------------------------------------------------------ where

def functions_of(text):
    """{function: its own instructions} of a callgrind file."""
    names, own, current, is_call = {}, {}, None, False
    for line in text.split("\n"):
        named = re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line)
        if named:
            if named.group(2):
                names[named.group(1)] = named.group(2)
            if line.startswith("fn="):
                current = names[named.group(1)]
        elif line.startswith("calls="):
            is_call = True
        elif re.match(r"[+*\-\d]", line):
            cost = line.split()[1:2]
            if not is_call and current and cost:
                own[current] = own.get(current, 0) + int(cost[0])
            is_call = False
    return own


def where(binary, scenario):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out")
        figure, _ = play(binary, scenario, path)
        with open(path, encoding="utf-8", errors="replace") as file:
            own = functions_of(file.read())
    total = sum(own.values())
    print("%s: %.1f instructions per message" % (scenario, figure))
    for name, cost in sorted(own.items(), key=lambda item: -item[1])[:25]:
        print("%10.1f %6.1f %%  %s" % (figure * cost / total, 100 * cost / total, name))


# ------------------------------------------------------------------------------------------------ self-test

FAKE_MICRO = """#!/usr/bin/python3
import sys
if sys.argv[1] == "--list":
    print("journey/a  one\\njourney/b  two")
elif sys.argv[2] == "b" and %(loses)r:
    sys.exit("weir-micro: b: subscriber 1 got 9 of 10 messages")
else:
    print("messages 10\\ncompiler gcc 12.2.0\\nmachine x86_64\\nlibc glibc 2.36")
"""
FAKE_VALGRIND = """#!/usr/bin/python3
import os, subprocess, sys
options = [a for a in sys.argv[1:] if a.startswith("--") and "=" in a]
command = sys.argv[1 + len(options):]
assert "--collect-atstart=no" in options and "--toggle-collect=stage_turn_counted" in options, options
assert sorted(os.environ) == ["GLIBC_TUNABLES", "LC_ALL", "LD_BIND_NOW", "PATH"] or "LC_CTYPE" in os.environ, os.environ
path = [o.split("=", 1)[1] for o in options if o.startswith("--callgrind-out-file=")][0]
open(path, "w").write("events: Ir\\n\\nsummary: %(b)d\\n" if command[-1] == "b" else "events: Ir\\n\\ntotals: 1000\\n")
sys.exit(subprocess.run(command).returncode)
"""

SAMPLE_OUT = """events: Ir
fl=(1) a.c
fn=(1) turn
10 5
+1 7
cfn=(2) inner
calls=3 20
12 900
fn=(2)
20 300
* 1
"""


def write_program(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)


def self_test_whole(folder, b, loses, expected_code, expected_words):
    """A record of a: 100, b: 100, against programs that say a: 100 and b instructions for ten messages of b."""
    binary, valgrind, record = (os.path.join(folder, name) for name in ("micro", "valgrind", "record.txt"))
    write_program(binary, FAKE_MICRO % {"loses": loses})
    write_program(valgrind, FAKE_VALGRIND % {"b": b})
    write_record(record, "gcc 12, x86_64, glibc 2.36", {"a": 100.0, "b": 100.0})
    code, lines = judge(binary, record, valgrind)
    text = "\n".join(lines)
    if code != expected_code or expected_words not in text:
        sys.exit("self-test: %d instructions: exit code %d, expected %d and \"%s\" in:\n%s"
                 % (b, code, expected_code, expected_words, text))


def self_test():
    gcc12, gcc13 = "gcc 12, x86_64, glibc 2.36", "gcc 13, x86_64, glibc 2.36"
    cases = [  # record, now, condition now, exit code, words
        ({"a": 100.0}, {"a": 100.0}, gcc12, 0, "+0.0 %"),
        ({"a": 100.0}, {"a": 104.9}, gcc12, 0, "+4.9 %"),
        ({"a": 100.0}, {"a": 105.2}, gcc12, 1, "a takes 105.2 instructions per message, the record says 100.0"),
        ({"a": 100.0}, {"a": 105.2}, gcc12, 1, TELL_AGAIN),
        ({"a": 100.0, "b": 9.0}, {"a": 100.0, "b": 10.0}, gcc12, 1, "where: ./dev cost --where b"),
        ({"a": 100.0}, {"a": 94.0}, gcc12, 0, "lower the record"),
        ({"a": 100.0}, {"a": 200.0}, gcc13, 0, "not judged"),
        ({"a": 100.0}, {"a": 100.0, "b": 1.0}, gcc12, 1, "b is not in the record"),
        ({"a": 100.0, "b": 1.0}, {"a": 100.0}, gcc12, 1, "b is in the record and no journey"),
    ]
    for old, new, made_with, code, words in cases:
        got, lines = compare(gcc12, old, made_with, new)
        if got != code or words not in "\n".join(lines):
            sys.exit("self-test: %s against %s: exit code %d, expected %d and \"%s\" in:\n%s"
                     % (new, old, got, code, words, "\n".join(lines)))
    if functions_of(SAMPLE_OUT) != {"turn": 12, "inner": 301}:
        sys.exit("self-test: the functions of a callgrind file are misread: %s" % functions_of(SAMPLE_OUT))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "record.txt")
        write_record(path, gcc12, {"a": 100.04, "long-name": 1.0})
        if read_record(path) != (gcc12, {"a": 100.0, "long-name": 1.0}):
            sys.exit("self-test: a record is not read as it was written")
        for bad in ("", "made with gcc\n", "made with gcc\na\n", "made with gcc\na 0.0\n", "made with gcc\na 1.0\na 1.0\n"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(bad)
            try:
                read_record(path)
            except CannotRun:
                continue
            sys.exit("self-test: a bad record was read: %r" % bad)
        self_test_whole(folder, 1000, False, 0, "+0.0 %")
        self_test_whole(folder, 1060, False, 1, "FAILED: b takes 106.0 instructions per message, the record says 100.0")
        self_test_whole(folder, 1000, True, 1, "subscriber 1 got 9 of 10 messages")
        self_test_whole(folder, 0, False, 2, "nothing was counted")
    print("self-test: all as expected")


# ------------------------------------------------------------------------------------------------ command line

def judge(binary, record, valgrind=VALGRIND):
    """(exit code, lines to print)."""
    try:
        old_with, old = read_record(record)
        new_with, new = measure(binary, valgrind)
    except Wrong as e:
        return 1, ["FAILED: %s" % e]
    except CannotRun as e:
        return 2, ["cost: %s" % e]
    return compare(old_with, old, new_with, new)


def main():
    parser = argparse.ArgumentParser(description="Instructions per message, against a record.")
    parser.add_argument("--binary", default=BINARY, help="weir-micro of a release build (build/release/weir-micro)")
    parser.add_argument("--record", action="store_true", help="write bench/cost/instructions.txt anew")
    parser.add_argument("--where", metavar="SCENARIO", help="the functions that scenario spends its instructions in")
    parser.add_argument("--self-test", action="store_true", help="check this program itself; needs neither of the others")
    o = parser.parse_args()
    o.binary = os.path.abspath(o.binary)
    if o.self_test:
        self_test()
        return 0
    if o.record and o.where:
        parser.error("--record and --where do not go together")
    try:
        if o.where:
            if o.where not in scenarios_of(o.binary):
                parser.error("no scenario %s; there are: %s" % (o.where, ", ".join(scenarios_of(o.binary))))
            where(o.binary, o.where)
            return 0
        if o.record:
            made_with, figures = measure(o.binary)
            write_record(RECORD, made_with, figures)
            print(open(RECORD, encoding="utf-8").read(), end="")
            return 0
    except Wrong as e:
        print("FAILED: %s" % e)
        return 1
    except CannotRun as e:
        print("cost: %s" % e, file=sys.stderr)
        return 2
    code, lines = judge(o.binary, RECORD)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
