#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""spec_coverage.py: which rules of the specifications have code, and which have a test.

    tests/spec_coverage.py [ROOT]            a summary; exit 1 for tags that cannot be right
    tests/spec_coverage.py --list [ROOT]     the same, and every rule of a server without code or without a test
    tests/spec_coverage.py --report [ROOT]   writes docs/conformance.md
    tests/spec_coverage.py --check [ROOT]    exit 1 if a rule has no code or no test, or docs/conformance.md is out of date
    tests/spec_coverage.py --self-test

The rules of MQTT are listed in tests/spec/mqtt5.txt and mqtt311.txt. A rule is named by its tag where it is enforced and again
where it is tested; the two versions number differently, so what stands behind "3.1.1:" (up to the next ';' or the end of the
comment, string or line) is a number of 3.1.1, what stands behind "both:" one that is the same rule in both, all else 5.0:

    [MQTT-3.3.1-4]                              a statement of 5.0
    [MQTT-3.3.1-1, -4; MQTT-4.7.3-2]            several
    [MQTT-3.3.1-5] to [MQTT-3.3.1-8]            these two and those between them
    [MQTT-3.1.2-14]; 3.1.1: [MQTT-3.1.2-16]     the same rule in the two versions
    both: [MQTT-3.12.4-1]                       the same, under one number
    STOMP 1.2 §Heart-beating                    a section of a STOMP specification, by its title (tests/spec/stomp*.txt)
    STOMP 1.2 §ACK, §NACK                       two of them

It counts as code in a function, a table or a macro (or in the comment in front of it), not in an essay or at a prototype: those
explain. It counts as a test in a test_*.c, a suite of tests/contract, a test_*.py, or on the line `test name ...` of a wire table;
in tables named *_v3.txt every number is one of 3.1.1. A table's test that claims a version has to connect in that version.
"""
import os
import re
import sys

CODE = ("app", "core", "transport", "proto_mqtt", "proto_stomp", "auth", "persist", "bridge", "admin")
TESTS = ("tests",)
NOT_ABOUT_THE_PRODUCT = ("tests/check_style.py", "tests/spec_coverage.py")
VERSIONS = (("5.0", "tests/spec/mqtt5.txt"), ("3.1.1", "tests/spec/mqtt311.txt"))
STOMP_VERSIONS = (("1.2", "tests/spec/stomp12.txt"), ("1.1", "tests/spec/stomp11.txt"), ("1.0", "tests/spec/stomp10.txt"))
DOCUMENT = "docs/conformance.md"
PLACES_SHOWN = 3

STOMP_SECTIONS = (
    "Abstract", "Overview", "Background", "Protocol Overview", "Changes in the Protocol", "Design Philosophy",
    "Conformance", "STOMP Frames", "Frames and Headers", "Frames", "Value Encoding", "Body", "Standard Headers",
    "Header content-length", "Header content-type", "Header receipt", "Repeated Header Entries", "Size Limits",
    "Connection Lingering", "Connecting", "CONNECT or STOMP Frame", "CONNECTED Frame", "CONNECT", "CONNECTED", "STOMP",
    "Protocol Negotiation", "Once Connected", "Heart-beating", "Client Frames", "SEND", "SUBSCRIBE id Header",
    "SUBSCRIBE ack Header", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT",
    "Server Frames", "MESSAGE", "RECEIPT", "ERROR", "Augmented BNF",
)
SECTION = "|".join(re.escape(title) for title in sorted(STOMP_SECTIONS, key=len, reverse=True))

# Everything that looks as if it wanted to be a tag, and what a tag is.
MQTT_LIKE = re.compile(r"\[\s*MQTT\s*[-–. ][^\]\n]{0,120}\]?")
MQTT_TAGS = re.compile(r"\[MQTT-[1-7](\.\d{1,2}){1,3}-\d{1,2}([,;] (MQTT-[1-7](\.\d{1,2}){1,3})?-\d{1,2})*\]")
STOMP_LIKE = re.compile(r"STOMP[ -]?(v?\d\S*)\s+(?:§|section\b)\s*(?=(.{0,40}))", re.I)
STOMP_TAG = re.compile(r"STOMP (1\.[012]) §(%s)(?![\w-])" % SECTION, re.I)
STOMP_MORE = re.compile(r",[\s*]+§(%s)(?![\w-])" % SECTION, re.I)
VERSION_MARK = re.compile(r";|\b(both):|(?<![\d.])(3\.1\.1)(?::|(?= \[MQTT-))")


# ------------------------------------------------------------------------------------------------ tags in a text

def numbers_of(written):
    """"[MQTT-1.5.4-1, -2; MQTT-4.7.3-2]" -> the three tags."""
    section = None
    for own, number in re.findall(r"(?:MQTT-([\d.]+))?-(\d+)", written):
        section = own or section
        yield "[MQTT-%s-%s]" % (section, number)


def between(first, last):
    """The tags after `first` and before `last` of one section."""
    (section, low), (other, high) = (tag[:-1].rsplit("-", 1) for tag in (first, last))
    return ["%s-%d]" % (section, n) for n in range(int(low) + 1, int(high))] if section == other else []


def versions_at(scope, at, default):
    """The versions that a tag at this place of its comment, string or line speaks of."""
    mark = None
    for match in VERSION_MARK.finditer(scope, 0, at + 6):
        if match.start() < at and not inside_brackets(scope, match.start()):
            mark = match
    if mark and mark.group(1):
        return ("5.0", "3.1.1")
    return ("3.1.1",) if mark and mark.group(2) else (default,)


def inside_brackets(scope, at):
    return scope.rfind("[MQTT", 0, at) > scope.rfind("]", 0, at)


def tags_of(scope, default="5.0"):
    """(offset, version, tag or None, as written) for everything in one comment, string or line that is a tag or looks like one."""
    before = None
    for match in MQTT_LIKE.finditer(scope):
        tags = list(numbers_of(match.group(0)))
        if not MQTT_TAGS.fullmatch(match.group(0)):
            yield match.start(), None, None, match.group(0)
            before = None
            continue
        if before and re.fullmatch(r"[\s*]+to[\s*]+", scope[before[0]:match.start()]):
            tags = between(before[1], tags[0]) + tags
        for version in versions_at(scope, match.start(), default):
            for tag in tags:
                yield match.start(), version, tag, match.group(0)
        before = match.end(), tags[-1]
    for match in STOMP_LIKE.finditer(scope):
        written = match.group(0) + match.group(2)
        tag = STOMP_TAG.match(written)
        yield match.start(), "STOMP", tag and stomp_tag(tag.group(1), tag.group(2)), written
        more = tag and STOMP_MORE.match(scope, match.start() + tag.end())
        while more:
            yield more.start(), "STOMP", stomp_tag(tag.group(1), more.group(1)), more.group(0)
            more = STOMP_MORE.match(scope, more.end())


def stomp_tag(version, section):
    return "STOMP %s §%s" % (version, section.lower())


# ------------------------------------------------------------------------------------------------ where a tag stands

C_TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^[ \t]*#(?:\\\n|[^\n])*|[{};]", re.S | re.M)


class Item:
    """One definition at the top level of a C file, with the comment in front of it."""

    def __init__(self):
        self.head, self.scopes, self.is_open, self.end_of_line = "", [], False, -1

    def name(self):
        """The function, table or macro it defines; None for everything that only declares."""
        head = re.sub(r"__attribute__\s*\(\(.*?\)\)", " ", self.head, flags=re.S).strip()
        macro = re.match(r"#\s*define\s+(\w+)", head)
        if macro:
            return macro.group(1)
        table = re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*=", head)
        if table and self.is_open:
            return table.group(1)
        function = re.search(r"(\w+)\s*\(", head)
        return function.group(1) if function and self.is_open and head.endswith(")") else None


def c_scopes(text):
    """(name of the definition or None, offset, comment or string) of a C file."""
    items, item, depth, last = [], Item(), 0, 0

    def close(at):
        nonlocal item
        end = text.find("\n", at)
        item.end_of_line = len(text) if end == -1 else end
        items.append(item)
        item = Item()

    for token in C_TOKEN.finditer(text):
        word, at = token.group(0), token.start()
        if depth == 0 and not item.is_open:
            item.head += text[last:at]
        last = token.end()
        if word[0] in "/\"'":
            behind = items and at < items[-1].end_of_line and not item.head.strip()
            (items[-1] if behind else item).scopes.append((at, word))
        elif word.lstrip()[0] == "#":
            item.scopes.append((at, word))
            if depth == 0:
                item.head = word.lstrip()
                close(token.end())
        elif word == "{":
            depth += 1
            item.is_open = True
        elif word == "}":
            depth = 0 if at == 0 or text[at - 1] == "\n" else max(0, depth - 1)
            if depth == 0 and item.head.rstrip().endswith(")") and "=" not in item.head:
                close(token.end())
        elif depth == 0:
            close(token.end())
    for item in items + [item]:
        for at, scope in item.scopes:
            yield item.name(), at, scope


def python_scopes(text):
    """(Class.function or None, offset, line) of a Python file."""
    where, at = [], 0
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if line.strip():
            where = [outer for outer in where if outer[0] < indent]
        yield ".".join(name for _, name in where if name) if any(kind for kind, _ in where) else None, at, line
        definition = re.match(r"\s*(?:class|def)\s+(\w+)", line)
        if definition:
            where.append((indent, definition.group(1)))
        at += len(line) + 1


def python_places(text):
    for name, at, line in python_scopes(text):
        yield name if name and re.search(r"(^|\.)test", name) else None, at, line


LEVEL = re.compile(r"'(?:MQTT|MQIsdp)'\s*(0[345])")


def table_tests(text):
    """(name, offset, tags' line, protocol levels it connects with) of a wire table."""
    names, tests, step = {}, [], None
    for match in re.finditer(r"(?m)^(\S.*(?:\n[ \t]+\S.*)*)", text):
        line = match.group(0)
        if line.startswith("let "):
            name, _, value = line[4:].partition("=")
            names[name.strip()] = value
        elif line.startswith("test "):
            step = []
            tests.append((line.split()[1], match.start(), line, step))
        elif step is not None:
            step.append(line)
    for name, at, line, steps in tests:
        body = "\n".join(steps)
        for _ in range(4):  # names in names
            body = re.sub(r"\$(\w+)", lambda m: names.get(m.group(1), ""), body)
        yield name, at, line, set(LEVEL.findall(body))


# ------------------------------------------------------------------------------------------------ collecting

class Found:
    def __init__(self):
        self.places = {"5.0": {}, "3.1.1": {}, "STOMP": {}}
        self.malformed, self.false = [], []

    def scope(self, path, place, text, at, scope, default="5.0"):
        for offset, version, tag, written in tags_of(scope, default):
            if not tag:
                self.malformed.append("%s:%d: %s" % (path, text.count("\n", 0, at + offset) + 1, written))
            elif place:
                places = self.places[version].setdefault(tag, [])
                if (path, place) not in places:
                    places.append((path, place))


def is_test(path):
    folder, name = os.path.split(path)
    return name.startswith("test_") or folder == "tests/contract" or (folder.startswith("tests/wire/") and name.endswith(".txt"))


def scan_table(found, path, text):
    default = "3.1.1" if path.endswith("_v3.txt") else "5.0"
    for name, at, line, levels in table_tests(text):
        found.scope(path, name, text, at, line, default)
        claims = {version for _, version, tag, _ in tags_of(line, default) if tag}
        if levels and "5.0" in claims and "05" not in levels:
            found.false.append("%s: test %s has numbers of 5.0 and connects in 3.x only" % (path, name))
        if levels and "3.1.1" in claims and not levels & {"03", "04"}:
            found.false.append("%s: test %s has numbers of 3.1.1 and connects in 5.0 only" % (path, name))


def scan_stomp_table(found, path, text):
    for name, at, line, _ in table_tests(text):
        found.scope(path, name, text, at, line)


def scan_file(found, path, text):
    if "MQTT" not in text and "STOMP" not in text:
        return
    is_table = path.startswith("tests/wire/") and path.endswith(".txt")
    if is_table and "/mqtt" in path:
        scan_table(found, path, text)
        rest = [(None, text.count("\n", 0, 0), text)]
    elif is_table and "/stomp" in path:
        scan_stomp_table(found, path, text)
        rest = [(None, 0, text)]
    elif path.endswith((".c", ".h", ".inc")):
        rest = c_scopes(text)
    elif path.endswith(".py"):
        rest = python_places(text)
    else:
        rest = [(os.path.basename(path), 0, text)]
    counts = not path.startswith("tests/") or is_test(path)
    for place, at, scope in rest:
        if "MQTT" in scope or "STOMP" in scope:
            found.scope(path, place if counts else None, text, at, scope)


def collect(root, folders):
    found = Found()
    for folder in folders:
        for where, inner, files in os.walk(os.path.join(root, folder)):
            inner.sort()
            for name in sorted(files):
                path = os.path.relpath(os.path.join(where, name), root)
                if name.endswith((".c", ".h", ".py", ".txt", ".inc")) and path not in NOT_ABOUT_THE_PRODUCT \
                        and not path.startswith("tests/spec/"):
                    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                        scan_file(found, path, file.read())
    found.malformed = list(dict.fromkeys(found.malformed))
    return found


# ------------------------------------------------------------------------------------------------ the lists

class Statement:
    def __init__(self, tag, binds, text, chapter, unsure):
        self.tag, self.binds, self.text, self.chapter, self.unsure = tag, binds, text, chapter, unsure
        self.exception, self.code, self.tests = None, [], []

    def gaps(self):
        """What is missing: "code", "test", both or nothing."""
        if self.binds == "client" or self.exception:
            return []
        return [what for what, places in (("code", self.code), ("test", self.tests)) if not places]


STATEMENT = re.compile(r"(\[MQTT-[\d.]+-\d+\])\s+(server|both|client)(\??)\s+(\S.*)")
STOMP_STATEMENT = re.compile(r"§(%s)\s\s+(server|both|client)(\??)\s+(\S.*)" % SECTION)


def read_list(text):
    """(statements, errors) of tests/spec/*.txt."""
    statements, errors, chapter, seen = [], [], "", set()
    for n, line in enumerate(text.split("\n"), 1):
        match = STATEMENT.fullmatch(line)
        if match and match.group(1) not in seen:
            statements.append(Statement(match.group(1), match.group(2), match.group(4), chapter, bool(match.group(3))))
            seen.add(match.group(1))
        elif re.match(r"# \d", line):
            chapter = line[2:]
        elif line.startswith("  except: ") and statements and not statements[-1].exception:
            statements[-1].exception = line[10:].strip()
        elif line.strip() and not line.startswith("#"):
            errors.append("%d: %s: %s" % (n, "twice" if match else "not understood", line))
    if [s.tag for s in statements] != in_order(s.tag for s in statements):
        errors.append("the statements are not in the order of their numbers")
    return statements, errors


def read_stomp_list(text):
    """The same of tests/spec/stomp*.txt: several statements have one section for a tag."""
    statements, errors = [], []
    for n, line in enumerate(text.split("\n"), 1):
        match = STOMP_STATEMENT.fullmatch(line)
        if match:
            statements.append(Statement(match.group(1), match.group(2), match.group(4), match.group(1), bool(match.group(3))))
        elif line.startswith("  except: ") and statements and not statements[-1].exception:
            statements[-1].exception = line[10:].strip()
        elif line.strip() and not line.startswith("#"):
            errors.append("%d: not understood: %s" % (n, line))
    return statements, errors


def in_order(tags):
    return sorted(tags, key=lambda tag: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", tag)])


def rank(place):
    """Wire tables say most, then unit tests, then the rest; code in the order of the message's way."""
    order = ("tests/wire", "tests/unit", "tests/contract", "tests/sim", "tests/e2e", "proto_mqtt", "core", "transport", "auth")
    return (next((i for i, start in enumerate(order) if place[0].startswith(start)), len(order)), place)


def read_rules(root, code, tests):
    """(version -> statements with their places, errors)."""
    rules, errors = {}, []
    for version, path in VERSIONS:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            rules[version], wrong = read_list(file.read())
        errors += ["%s:%s" % (path, line) for line in wrong]
        known = {s.tag for s in rules[version]}
        for found in (code, tests):
            for tag, places in found.places[version].items():
                if tag not in known:
                    errors.append("%s is no statement of %s: %s" % (tag, version, ", ".join("%s: %s" % p for p in places)))
        for s in rules[version]:
            s.code = sorted(code.places[version].get(s.tag, []), key=rank)
            s.tests = sorted(tests.places[version].get(s.tag, []), key=rank)
    return rules, errors + tests.false


def read_stomp(root, code, tests):
    """(version -> statements with their places, errors)."""
    rules, errors, known = {}, [], set()
    for version, path in STOMP_VERSIONS:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            rules[version], wrong = read_stomp_list(file.read())
        errors += ["%s:%s" % (path, line) for line in wrong]
        for s in rules[version]:
            tag = stomp_tag(version, s.tag)
            known.add(tag)
            s.code = sorted(code.places["STOMP"].get(tag, []), key=rank)
            s.tests = sorted(tests.places["STOMP"].get(tag, []), key=rank)
    for found in (code, tests):
        for tag in sorted(tag for tag in set(found.places["STOMP"]) - known if tag.startswith("STOMP 1.2")):
            errors.append("%s is not listed: %s" % (tag, ", ".join("%s: %s" % p for p in found.places["STOMP"][tag])))
    return rules, errors


# ------------------------------------------------------------------------------------------------ the document

def totals(statements):
    bound = [s for s in statements if s.binds != "client"]
    excepted = [s for s in bound if s.exception]
    return len(statements), len(bound), len([s for s in bound if not s.exception and not s.gaps()]), len(excepted), \
        len([s for s in bound if s.gaps()])


def short(path):
    """A file as the page names it: the code's by their path, tables by their name, other tests by their path below tests/."""
    return os.path.basename(path) if path.startswith(("tests/wire/mqtt/", "tests/wire/stomp/")) else path[len("tests/"):] if path.startswith("tests/") else path


def cell(places):
    """Some of the places, those in one file together."""
    files = {}
    for path, place in places[:PLACES_SHOWN]:
        files.setdefault(short(path), []).append("`%s`" % place)
    more = len(places) - PLACES_SHOWN
    lines = ["%s: %s" % (path, ", ".join(names)) for path, names in files.items()]
    return "<br>".join(lines + (["and %d more" % more] if more > 0 else [])) or "**missing**"


def row(s):
    if s.binds == "client":
        code, tests = "*binds clients only*", ""
    elif s.exception:
        code, tests = "*exception: %s*" % s.exception, cell(s.tests) if s.tests else ""
    else:
        code, tests = cell(s.code), cell(s.tests)
    return "| %s%s | %s | %s | %s |" % (s.tag[1:-1], " (?)" if s.unsure else "", s.text.replace("|", "\\|"), code, tests)


def exceptions(rules):
    """The exceptions of all versions, those with the same reason together."""
    out = ["| statements | why there is no code or no test |", "|---|---|"]
    for version, _ in VERSIONS:
        reasons = {}
        for s in rules[version]:
            if s.binds != "client" and s.exception:
                reasons.setdefault(s.exception, []).append(s.tag[1:-1])
        out += ["| %s: %s | %s |" % (version, ", ".join(tags), reason) for reason, tags in reasons.items()]
    return out


INTRODUCTION = """# Conformance

This page lists the numbered normative statements of the two OASIS specifications of MQTT, all of them, in our own words: the
code that enforces each, and tests that fail when it does not. Statements that bind clients only are listed so that no number is
missing. MQTT 3.1 has no numbered statements; the tests speak it as well. What a listener with `conformance lenient` overlooks is
in [mqtt.md](mqtt.md#strict-and-lenient). [STOMP](#stomp-12) follows, whose statements have no numbers: there the code and the tests are
those of a whole section.

Code is named by its function or table. Of the tests, a `.txt` file is a table of conversations in tests/wire/mqtt (tests/wire/stomp) and
the name behind it one conversation, byte by byte; all other paths are below tests/. Where there are more than %d places, the first
ones are named.

The page is written by `./dev spec --report` out of tests/spec/ and the numbers that stand in the comments of code and tests. The
check `spec_coverage` fails when a statement that binds a server has no code or no test, and when this page is out of date.
""" % PLACES_SHOWN


def stomp_part(stomp):
    """One row per section: its statements, its code, its tests."""
    out = []
    for version, _ in STOMP_VERSIONS:
        sections = list(dict.fromkeys(s.tag for s in stomp[version]))
        out += ["", "## STOMP " + version, "", "| section | what it says | code | tests |", "|---|---|---|---|"]
        for section in sections:
            here = [s for s in stomp[version] if s.tag == section]
            texts = [s.text + (" *(binds clients)*" if s.binds == "client" else "") for s in here]
            places = next((s for s in here if s.binds != "client"), here[0])
            cells = row(places).rsplit(" | ", 2)
            out.append("| %s | %s | %s | %s" % (section, "<br>".join(texts).replace("|", "\\|"), cells[1], cells[2]))
    return out


def stomp_totals(statements):
    """Sections, those that bind a server, with code and test, exceptions, missing."""
    bound = {s.tag for s in statements if s.binds != "client"}
    missing = {s.tag for s in statements if s.gaps()}
    excepted = {s.tag for s in statements if s.exception}
    return len({s.tag for s in statements}), len(bound), len(bound - missing - excepted), len(excepted), len(missing)


def document(rules, stomp):
    out = INTRODUCTION.split("\n")
    out += ["| MQTT | statements | bind a server | with code and test | exceptions | missing |", "|---|---:|---:|---:|---:|---:|"]
    for version, _ in VERSIONS:
        out.append("| %s | %d | %d | %d | %d | %d |" % ((version,) + totals(rules[version])))
    out += ["", "| STOMP | sections | bind a server | with code and test | exceptions | missing |", "|---|---:|---:|---:|---:|---:|"]
    for version, _ in STOMP_VERSIONS:
        out.append("| %s | %d | %d | %d | %d | %d |" % ((version,) + stomp_totals(stomp[version])))
    out += ["", "## Exceptions", ""] + exceptions(rules)
    for version, _ in VERSIONS:
        out += ["", "## MQTT " + version]
        chapter = None
        for s in rules[version]:
            if s.chapter != chapter:
                chapter = s.chapter
                out += ["", "### " + chapter, "", "| statement | what it says | code | tests |", "|---|---|---|---|"]
            out.append(row(s))
    return "\n".join(out + stomp_part(stomp)) + "\n"


# ------------------------------------------------------------------------------------------------ self-test

def self_test_tags():
    good = ["[MQTT-3.3.1-4]", "[MQTT-1.5.5-1]", "[MQTT-3.1.2-24]", "[MQTT-4.7.3-1]", "[MQTT-2.2.1-2]",
            "STOMP 1.2 §Frames and Headers", "STOMP 1.1 §Heart-beating: both", "STOMP 1.0 §send, then",
            "STOMP 1.2 §SUBSCRIBE ack Header"]
    bad = ["[MQTT-3.3.1]", "[MQTT 3.3.1-4]", "[MQTT-3.3.1-4, 5]", "[MQTT-3.3.1-1 -2]", "[MQTT-33.1-4 ]", "[MQTT-9.1.1-1]",
           "STOMP 1.3 §SEND", "STOMP 1.2 §Heartbeats", "STOMP 1.2 section Body", "STOMP v1.2 §Body"]
    none = ["names[MQTT_CONNECT] = 1;", "MQTT 5 §4.7", "STOMP 1.2 is a protocol", "[MQTT] and [STOMP]"]
    for text in good:
        found = list(tags_of("/* %s */" % text))
        assert len(found) == 1 and found[0][2], (text, found)
    for text in bad:
        found = list(tags_of("/* %s */" % text))
        assert len(found) == 1 and found[0][2] is None, (text, found)
    for text in none:
        assert not list(tags_of(text)), text
    several = [tag for _, _, tag, _ in tags_of("[MQTT-1.5.4-1, -2; MQTT-4.7.3-2]")]
    assert several == ["[MQTT-1.5.4-1]", "[MQTT-1.5.4-2]", "[MQTT-4.7.3-2]"], several
    several = [tag for _, _, tag, _ in tags_of("[MQTT-1.5.4-1] to\n * [MQTT-1.5.4-3], [MQTT-1.5.4-7]")]
    assert several == ["[MQTT-1.5.4-%d]" % n for n in (1, 2, 3, 7)], several
    several = [tag for _, _, tag, _ in tags_of("STOMP 1.2 §BEGIN, §COMMIT,\n * §ABORT; §NACK")]
    assert several == ["STOMP 1.2 §" + name for name in ("begin", "commit", "abort")], several
    several = [tag for _, _, tag, _ in tags_of("STOMP 1.2 §Body; STOMP 1.1 §Body")]
    assert several == ["STOMP 1.2 §body", "STOMP 1.1 §body"], several
    return len(good + bad + none) + 4


def self_test_versions():
    samples = {  # "5" and "3" in the order of the tags
        "[MQTT-1.1.1-1]": "5", "3.1.1: [MQTT-1.1.1-1]": "3", "3.1.1: [MQTT-1.1.1-1], [MQTT-1.1.1-2]": "33",
        "[MQTT-1.1.1-1]; 3.1.1: [MQTT-1.1.1-2], [MQTT-1.1.1-3]; [MQTT-1.1.1-4]": "5335",
        "3.1.1: [MQTT-1.1.1-1, -2; MQTT-4.7.3-2] [MQTT-1.1.1-3]": "3333", "both: [MQTT-1.1.1-1]": "53",
        "[MQTT-1.1.1-1] both: [MQTT-1.1.1-2]; [MQTT-1.1.1-3]": "5535", "3.1.1 [MQTT-1.1.1-1] no colon": "3",
        "MQTT 3.1.1 says so, [MQTT-1.1.1-1]": "5", "limit of both [MQTT-1.1.1-1]": "5", "[MQTT-1.1.1-1] (3.1.1)": "5",
    }
    for text, want in samples.items():
        got = "".join(version[0] for _, version, _, _ in tags_of(text))
        assert got == want, (text, got, want)
    assert [v for _, v, _, _ in tags_of("[MQTT-1.1.1-1]", "3.1.1")] == ["3.1.1"]
    return len(samples) + 1


C_SAMPLE = """/* SPDX */
/* a.c: an essay [MQTT-1.1.1-1]. */
#include "a.h" /* [MQTT-1.1.1-2] */
#define LOW 1 /* [MQTT-1.1.1-3] */
/* proto: [MQTT-1.1.1-4] */
int proto(int a);
/* one: [MQTT-1.1.1-5] */
static enum err one(struct a *p, int n)
{
#ifdef A
    if (p) { /* [MQTT-1.1.1-6] */
#else
    if (n) {
#endif
        return "[MQTT-1.1.1-7]";
    }
}
static const struct row ROWS[2] = {
    {"x", {1}}, /* [MQTT-1.1.1-8] */
}; /* [MQTT-1.1.1-9] */
enum { A = 1 }; /* [MQTT-1.1.1-10] */
static void two(void) /* [MQTT-1.1.1-11] */
{
} // [MQTT-1.1.1-12]
// [MQTT-1.1.1-13]
"""


def self_test_places():
    got = {int(tag.split("-")[-1][:-1]): name for name, _, scope in c_scopes(C_SAMPLE) for _, _, tag, _ in tags_of(scope)}
    want = {1: None, 2: None, 3: "LOW", 4: None, 5: "one", 6: "one", 7: "one", 8: "ROWS", 9: "ROWS", 10: None, 11: "two",
            12: "two", 13: None}
    assert got == want, got
    python = "'''[MQTT-1.1.1-1]'''\nclass A:\n    def test_x(self):\n        '''[MQTT-1.1.1-2]'''\n    def help(self):\n        # [MQTT-1.1.1-3]\n"
    got = [name for name, _, scope in python_places(python) for _ in tags_of(scope)]
    assert got == [None, "A.test_x", None], got
    table = "let h = 10 [ 'MQTT' 05 02 ]\nlet hh = $h c0\n# [MQTT-1.1.1-1]\ntest a  [MQTT-1.1.1-2] x\n  3.1.1: [MQTT-1.1.1-3]\nA> $hh\n"
    tests = list(table_tests(table))
    assert len(tests) == 1 and tests[0][0] == "a" and tests[0][3] == {"05"}, tests
    found = Found()
    scan_file(found, "tests/wire/mqtt/a.txt", table)
    assert set(found.places["5.0"]) == {"[MQTT-1.1.1-2]"} and set(found.places["3.1.1"]) == {"[MQTT-1.1.1-3]"}, found.places
    assert len(found.false) == 1 and "5.0 only" in found.false[0], found.false
    found = Found()
    scan_file(found, "tests/wire/mqtt/a_v3.txt", table.replace("05", "04"))
    assert not found.places["5.0"] and len(found.places["3.1.1"]) == 2 and not found.false, found.places
    return 22


def self_test_lists():
    statements, errors = read_list("# 1 One\n[MQTT-1.1.1-1]  server  a rule\n[MQTT-1.1.1-2]  client?  another\n"
                                   "[MQTT-1.1.1-10] both    a third\n  except: not applicable: none of that here\n")
    assert not errors and [s.binds for s in statements] == ["server", "client", "both"], errors
    assert [s.gaps() for s in statements] == [["code", "test"], [], []] and statements[1].unsure
    statements[0].code = [("core/a.c", "f")]
    assert statements[0].gaps() == ["test"] and totals(statements) == (3, 2, 0, 1, 1)
    page = document({"5.0": statements, "3.1.1": []}, {version: [] for version, _ in STOMP_VERSIONS})
    assert "core/a.c: `f` | **missing** |" in page and "*exception: not applicable" in page and "MQTT-1.1.1-2 (?)" in page, page
    assert "| 5.0: MQTT-1.1.1-10 | not applicable: none of that here |" in page, page
    places = [("tests/wire/mqtt/a.txt", name) for name in "abcd"]
    assert cell(places) == "a.txt: `a`, `b`, `c`<br>and 1 more" and cell([]) == "**missing**", cell(places)
    assert cell([("core/a.c", "f"), ("tests/unit/test_a.c", "g")]) == "core/a.c: `f`<br>unit/test_a.c: `g`"
    for wrong in ("[MQTT-1.1.1-1] server a\n[MQTT-1.1.1-1] server b", "[MQTT-1.1.1-1] nobody a", "  except: of nothing",
                  "[MQTT-1.1.1-2] server a\n[MQTT-1.1.1-1] server b"):
        assert read_list(wrong)[1], wrong
    stomp, errors = read_stomp_list("# One\n§SEND  server  a rule\n§SEND  both    another\n§Body  client  not ours\n")
    assert not errors and [s.tag for s in stomp] == ["SEND", "SEND", "Body"] and stomp_totals(stomp) == (2, 1, 0, 0, 1)
    stomp[0].code = stomp[1].code = [("proto_stomp/a.c", "f")]
    page = document({"5.0": [], "3.1.1": []}, {"1.2": stomp, "1.1": [], "1.0": []})
    assert "| SEND | a rule<br>another | proto_stomp/a.c: `f` | **missing** |" in page, page
    assert "| Body | not ours *(binds clients)* | *binds clients only* |  |" in page, page
    assert read_stomp_list("§Sent  server  a rule")[1] and read_stomp_list("§SEND server a rule")[1]
    found = Found()
    scan_file(found, "tests/wire/stomp/a.txt", "# STOMP 1.2 §ACK\ntest a  STOMP 1.2 §SEND: x\nA> 'x'\n")
    assert found.places["STOMP"] == {"STOMP 1.2 §send": [("tests/wire/stomp/a.txt", "a")]}, found.places
    return 20


def self_test():
    n = self_test_tags() + self_test_versions() + self_test_places() + self_test_lists()
    print("spec tags: %d samples are judged as they should be" % n)


# ------------------------------------------------------------------------------------------------ main

def say_stomp(stomp, details):
    """Prints; the number of gaps."""
    n = 0
    for version, _ in STOMP_VERSIONS:
        for tag in dict.fromkeys(s.tag for s in stomp[version] if details and s.gaps()):
            gaps = next(s for s in stomp[version] if s.tag == tag and s.gaps()).gaps()
            print("STOMP %s §%-22s no %s" % (version, tag, " and no ".join(gaps)))
        print("STOMP %s    %3d sections, %d bind a server: %d with code and test, %d exceptions, %d missing"
              % ((version,) + stomp_totals(stomp[version])))
        n += stomp_totals(stomp[version])[4]
    return n


def say_mqtt(rules, details):
    """Prints; the number of gaps."""
    n = 0
    for version, _ in VERSIONS:
        for s in rules[version] if details else []:
            if s.gaps():
                has = (s.code or s.tests or [("nothing", "")])[0]
                print("%-5s %-17s no %-13s %s%s" % (version, s.tag, " and no ".join(s.gaps()), s.text,
                                                    " (%s: %s)" % has if has[1] else ""))
        print("MQTT %-5s  %3d statements, %d bind a server: %d with code and test, %d exceptions, %d missing"
              % ((version,) + totals(rules[version])))
        n += totals(rules[version])[4]
    return n


def main(args):
    if args[:1] == ["--self-test"]:
        self_test()
        return
    mode = args.pop(0) if args and args[0].startswith("--") else ""
    if mode not in ("", "--list", "--check", "--report") or len(args) > 1:
        sys.exit(__doc__)
    root = args[0] if args else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code, tests = collect(root, CODE), collect(root, TESTS)
    rules, errors = read_rules(root, code, tests)
    stomp, more = read_stomp(root, code, tests)
    errors += more
    gaps = say_mqtt(rules, mode in ("--list", "--check")) + say_stomp(stomp, mode in ("--list", "--check"))
    for line in errors:
        print("wrong: " + line)
    for line in code.malformed + tests.malformed:
        print("not a tag: " + line)
    path, page, old = os.path.join(root, DOCUMENT), document(rules, stomp), None
    if mode == "--report":
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)
    elif os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.read()
    if code.malformed or tests.malformed:
        sys.exit("spec tags: %d malformed; write [MQTT-3.3.1-4] or STOMP 1.2 §Title, with a title of: %s"
                 % (len(code.malformed + tests.malformed), ", ".join(STOMP_SECTIONS)))
    if mode == "--check" and (errors or gaps):
        sys.exit("spec: %d statements without code or test, %d tags that are wrong; how to write one: ./dev spec --help"
                 % (gaps, len(errors)))
    if mode == "--check" and page != old:
        sys.exit("spec: %s is out of date (code or tests with tags have moved); write it anew: ./dev spec --report" % DOCUMENT)


main(sys.argv[1:])
