#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check_style.py: the house rules a compiler does not know.

    tests/check_style.py [ROOT]            all .c and .h of the repository; exit 1 and one line per violation
    tests/check_style.py --functions [N]   the N longest functions, for whoever wants to shorten one
    tests/check_style.py --self-test       small bad samples, each of which must be found, and good ones which must not

It does not parse C. Comments, strings and preprocessor lines are blanked (the lines stay), and what is left is walked by
braces: at depth 0 there are declarations, types and functions, which is enough for every rule below. Where a rule needs an
exception it gets a named row in a table here, with the reason.
"""
import os
import re
import sys

PRODUCT = ("app", "core", "transport", "proto_mqtt", "proto_stomp", "persist", "auth", "bridge", "admin")
OTHERS = ("tests", "bench")

HEADER_LINES_MAX = 250
SOURCE_LINES_MAX = 900
FUNCTION_LINES_MAX = 100
ESSAY_LINES_MIN = 5
ESSAY_LINES_MAX = 40  # what a file is for, not a book; a file format may need some more than the usual 30

# Calls that nobody makes, and what to use instead.
BANNED = {
    "strcpy": "slices, buf_put_str", "stpcpy": "slices, buf_put_str", "strcat": "buf_put_str",
    "strncpy": "slices, memcpy with a checked length", "strncat": "buf_put_str",
    "sprintf": "buf_printf or snprintf", "vsprintf": "vsnprintf", "gets": "fgets",
    "atoi": "a parser that reports errors", "atol": "a parser that reports errors",
    "atoll": "a parser that reports errors", "atof": "a parser that reports errors",
    "strtok": "slices", "alloca": "a fixed buffer or mem_alloc", "system": "posix_spawn", "popen": "posix_spawn",
    "rand": "rng.h", "srand": "rng.h", "random": "rng.h", "tmpnam": "mkstemp", "mktemp": "mkstemp",
    "gmtime": "gmtime_r", "localtime": "localtime_r", "ctime": "strftime", "asctime": "strftime",
}
# Only in the product: tests may hand plain heap blocks to a sanitizer and assert as they like.
BANNED_IN_PRODUCT = {
    "malloc": "mem_alloc", "calloc": "mem_alloc", "realloc": "mem_realloc", "reallocarray": "mem_realloc",
    "free": "mem_free", "strdup": "mem_alloc", "strndup": "mem_alloc", "asprintf": "buf_printf",
    "vasprintf": "buf_printf", "aligned_alloc": "mem_alloc", "posix_memalign": "mem_alloc", "assert": "BUG_ON",
    "sleep": "a timer", "usleep": "a timer", "nanosleep": "a timer",
}
MAY_CALL = {
    "core/base/mem.c": ("malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"),  # the one door to the C heap
}
# file -> names of mutable file-scope data that are allowed, each with its reason. Empty is best.
MAY_CHANGE = {}

CONTROL = ("if", "while", "for", "switch", "return", "sizeof", "do", "else")


# ------------------------------------------------------------------------------------------------ blanking

def blank(text):
    """The code without comments, strings and character constants; every newline stays where it was."""
    def replace(match):
        found = match.group(0)
        hollow = "".join("\n" if c == "\n" else " " for c in found)
        return found[0] + hollow[1:-1] + found[0] if found[0] in "\"'" else hollow
    return re.sub(r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', replace, text,
                  flags=re.S)


def without_preprocessor(code):
    """Blanks directives (with their continued lines) and all branches but the first of each #if."""
    out, skipping, continued = [], [], False
    for line in code.split("\n"):
        directive = re.match(r"\s*#\s*(\w+)", line)
        if continued or directive:
            if directive and not continued:
                word = directive.group(1)
                if word in ("if", "ifdef", "ifndef"):
                    skipping.append(False)
                elif word in ("else", "elif") and skipping:
                    skipping[-1] = True
                elif word == "endif" and skipping:
                    skipping.pop()
            continued = line.rstrip().endswith("\\")
            out.append("")
        else:
            out.append("" if any(skipping) else line)
    return "\n".join(out)


def closing(code, at, pair="{}"):
    """Index of the bracket that closes the one at `at`; the end of the code if there is none."""
    depth = 0
    for i in range(at, len(code)):
        if code[i] == pair[0]:
            depth += 1
        elif code[i] == pair[1]:
            depth -= 1
            if depth == 0:
                return i
    return len(code) - 1


def line_of(code, at):
    return code.count("\n", 0, at) + 1


# ------------------------------------------------------------------------------------------------ top level

class Function:
    def __init__(self, name, start, first_line, last_line, body):
        self.name, self.start = name, start
        self.first_line, self.last_line, self.body = first_line, last_line, body
        self.lines = last_line - first_line + 1


def top_level(code):
    """Splits code into functions and declarations: ([Function], [(offset, declaration text without bodies)])."""
    functions, declarations = [], []
    text, start, i = "", None, 0
    while i < len(code):
        c = code[i]
        if start is None and not c.isspace():
            start = i
        if c == "{":
            end = closing(code, i)
            head = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", text, flags=re.S).strip()
            if head.endswith(")") and "=" not in head and not re.search(r"\b(struct|union|enum)\s*$", head):
                before = re.search(r"(\w+)\s*\(", head)
                functions.append(Function(before.group(1) if before else "?", i, line_of(code, start),
                                          line_of(code, end), code[i:end + 1]))
                text, start = "", None
            else:
                text += "{}"
            i = end + 1
            continue
        if c == ";":
            if text.strip():
                declarations.append((start, text.strip()))
            text, start = "", None
        elif start is not None:
            text += c
        i += 1
    return functions, declarations


def mutable_name(declaration):
    """The name of the object a declaration makes if that object can change; None for everything else."""
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)", " ", declaration, flags=re.S)
    text = text.split("=", 1)[0].strip()
    if re.match(r"(typedef|_Static_assert|static_assert)\b", text):
        return None
    pointer_to_function = re.match(r"[^(]*\(\s*\*([^)]*?)(\w+)\s*(?:\[[^\]]*\])*\s*\)\s*\(", text)
    if pointer_to_function:
        return None if "const" in pointer_to_function.group(1) else pointer_to_function.group(2)
    if "(" in text:  # a prototype, or a macro call
        return None
    text = re.sub(r"\[[^\]]*\]", "", text).strip()
    if re.fullmatch(r"((static|extern|const)\s+)*(struct|union|enum)(\s+\w+)?\s*(\{\})?", text):
        return None  # a type, no object
    if re.fullmatch(r"(struct|union|enum)(\s+\w+)?\s*\{\}\s*(__attribute__.*)?", text):
        return None
    words = re.findall(r"\w+", text)
    if len(words) < 2:
        return None
    constant = "const" in text.rsplit("*", 1)[1] if "*" in text else re.search(r"\bconst\b", text)
    return None if constant else words[-1]


# ------------------------------------------------------------------------------------------------ rules

class Report:
    def __init__(self):
        self.lines, self.functions = [], []

    def add(self, path, line, text):
        self.lines.append("%s:%d: %s" % (path, line, text))


def is_product(path):
    return path.split("/", 1)[0] in PRODUCT


def check_start(report, path, text):
    """SPDX on the first line; then, in a .c, the essay."""
    lines = text.split("\n")
    if not re.match(r"(/\*|//) SPDX-License-Identifier: Apache-2\.0( \*/)?$", lines[0]):
        report.add(path, 1, "the first line is not the SPDX line")
        return
    if not path.endswith(".c"):
        if not re.match(r"\s*#ifndef (WEIR|TESTS?)_\w+_H\n#define ", "\n".join(lines[1:])):
            report.add(path, 2, "no include guard WEIR_..._H behind the SPDX line")
        return
    essay = re.match(r"\s*/\*(.*?)\*/", "\n".join(lines[1:]), flags=re.S)
    if not essay:
        report.add(path, 2, "no essay behind the SPDX line: what is this file for?")
        return
    n = len(essay.group(1).strip(" *\t\n").split("\n"))
    least = ESSAY_LINES_MIN if is_product(path) else 1
    if n < least or n > ESSAY_LINES_MAX:
        report.add(path, 2, "the essay has %d lines, %d to %d are wanted" % (n, least, ESSAY_LINES_MAX))


def check_length(report, path, text):
    n = text.count("\n")
    most = HEADER_LINES_MAX if path.endswith(".h") else SOURCE_LINES_MAX
    if n > most:
        report.add(path, n, "%d lines, %d are the most" % (n, most))


def check_calls(report, path, code):
    banned = dict(BANNED)
    if is_product(path):
        banned.update(BANNED_IN_PRODUCT)
    for match in re.finditer(r"(?<![\w.])(?<!->)(%s)\s*\(" % "|".join(banned), code):
        name = match.group(1)
        before = code[:match.start()].rstrip()
        declares = re.search(r"[\w*]$", before) and not re.search(r"\b(return|else|do|case)$", before)
        if name not in MAY_CALL.get(path, ()) and not declares:
            report.add(path, line_of(code, match.start()), "%s() is banned: use %s" % (name, banned[name]))


def check_todo(report, path, text):
    for match in re.finditer(r"\b(TODO|FIXME|XXX|HACK)\b(\([^)\s]+\):)?", text):
        if match.group(1) != "TODO" or not match.group(2):
            report.add(path, line_of(text, match.start()), "write TODO(name or #issue): what, not bare " + match.group(1))


def check_data(report, path, code, functions, declarations):
    if not is_product(path):
        return
    for at, declaration in declarations:
        name = mutable_name(declaration)
        if name and name not in MAY_CHANGE.get(path, ()):
            what = "extern data in a header" if path.endswith(".h") else "file-scope data that can change"
            report.add(path, line_of(code, at), "%s: %s (const, or into a struct)" % (name, what))
    for function in functions:
        for match in re.finditer(r"(?<!\w)static\b(?!\s+inline)([^;{]*?)(?=[;{=])", function.body):
            name = mutable_name("static " + match.group(1))
            if name and name not in MAY_CHANGE.get(path, ()):
                report.add(path, line_of(code, function.start + match.start()),
                           "%s: static local in %s" % (name, function.name))


def check_functions(report, path, code, functions):
    for function in functions:
        report.functions.append((function.lines, path, function.first_line, function.name))
        if function.lines > FUNCTION_LINES_MAX:
            report.add(path, function.first_line,
                       "%s has %d lines, %d are the most" % (function.name, function.lines, FUNCTION_LINES_MAX))
        for match in re.finditer(r"\bgoto\s+(\w+)\s*;", function.body):
            label = re.search(r"(?m)^[ \t]*%s:" % match.group(1), function.body)
            if label and label.start() < match.start():
                report.add(path, line_of(code, function.start + match.start()), "goto upwards")
        for match in re.finditer(r"\b(if|while)\s*\(", function.body):
            at = match.end() - 1
            condition = function.body[at:closing(function.body, at, "()")]
            if re.search(r"(?<![=!<>])=(?!=)", re.sub(r"(?<=[{,])\s*\.\w+\s*=(?!=)", "", condition)):
                report.add(path, line_of(code, function.start + match.start()),
                           "assignment inside the condition of %s" % match.group(1))


def check_file(report, path, text):
    check_start(report, path, text)
    check_length(report, path, text)
    check_todo(report, path, text)
    blanked = blank(text)
    check_calls(report, path, blanked)
    code = without_preprocessor(blanked)
    functions, declarations = top_level(code)
    check_data(report, path, code, functions, declarations)
    check_functions(report, path, code, functions)


def check_tree(root):
    report, n = Report(), 0
    for folder in PRODUCT + OTHERS:
        for where, folders, files in os.walk(os.path.join(root, folder)):
            folders.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")) and ".pb-c." not in name:
                    path = os.path.relpath(os.path.join(where, name), root)
                    with open(os.path.join(root, path), encoding="utf-8") as file:
                        check_file(report, path, file.read())
                    n += 1
    return report, n


# ------------------------------------------------------------------------------------------------ self-test

ESSAY = ("/* SPDX-License-Identifier: Apache-2.0 */\n/*\n * a.c: a sample.\n *\n * one\n * two\n * three\n * four\n */\n"
         "#include <stddef.h>\n")
GUARD = "/* SPDX-License-Identifier: Apache-2.0 */\n#ifndef WEIR_A_H\n#define WEIR_A_H\n%s\n#endif\n"

# (path, text, words that the only finding must hold; None when there must be none)
SAMPLES = [
    ("core/a.c", ESSAY, None),
    ("core/a.c", ESSAY + "int f(void)\n{\n    return x.free(1) + p->free(2) + my_free(3);\n}\n", None),
    ("core/a.c", ESSAY + "void f(void)\n{\n    free(p);\n}\n", "free() is banned"),
    ("core/a.c", ESSAY + "/* free(p) */ // strcpy(a, b)\nconst char *const s = \"sprintf(x)\";\n", None),
    ("core/a.c", ESSAY + "int f(void)\n{\n    return atoi (s);\n}\n", "atoi() is banned"),
    ("core/a.c", ESSAY + "#define DUP(s) strdup(s)\n", "strdup() is banned"),
    ("core/base/mem.c", ESSAY + "void *f(size_t n)\n{\n    return malloc(n);\n}\n", None),
    ("core/base/mem.c", ESSAY + "void *f(size_t n)\n{\n    return strdup(n);\n}\n", "strdup() is banned"),
    ("tests/unit/test_a.c", ESSAY + "void f(void)\n{\n    g(malloc(1));\n}\n", None),
    ("tests/unit/test_a.c", ESSAY + "void f(void)\n{\n    strcpy(a, b);\n}\n", "strcpy() is banned"),
    ("tests/unit/test_a.c", ESSAY + "static int counter;\n", None),
    ("core/a.c", ESSAY + "static int counter;\n", "counter: file-scope data"),
    ("core/a.c", ESSAY + "int table[2][3] = {{1}, {2}};\n", "table: file-scope data"),
    ("core/a.c", ESSAY + "static const int table[] = {1, 2};\nstatic const struct x y = {.a = 1};\n", None),
    ("core/a.c", ESSAY + "static const char *name;\n", "name: file-scope data"),
    ("core/a.c", ESSAY + "static const char *const names[] = {\"a\", \"b\"};\n", None),
    ("core/a.c", ESSAY + "static void (*hook)(int);\n", "hook: file-scope data"),
    ("core/a.c", ESSAY + "static void (*const hooks[])(int) = {f, g};\n", None),
    ("core/a.c", ESSAY + "static _Thread_local struct shard *current;\n", "current: file-scope data"),
    ("core/a.c", ESSAY + "struct x {\n    int a;\n} y;\n", "y: file-scope data"),
    ("core/a.c", ESSAY + "struct x;\nstruct x {\n    int a;\n};\nenum e { A, B };\ntypedef int t;\nint f(int a);\n"
                         "void g(struct x *x, void (*die)(struct x *x), void *ctx);\n"
                         "_Static_assert(sizeof(int) == 4, \"int\");\nTABLE(x);\n", None),
    ("core/a.c", ESSAY + "struct __attribute__((packed)) x {\n    int a;\n};\n", None),
    ("core/a.c", ESSAY + "int f(void)\n{\n    static int n;\n    return n++;\n}\n", "n: static local in f"),
    ("core/a.c", ESSAY + "int f(void)\n{\n    static struct x cache = {0};\n    return 1;\n}\n", "cache: static local"),
    ("core/a.c", ESSAY + "int f(void)\n{\n    static const char *const t[] = {\"a\"};\n    return t[0][0];\n}\n", None),
    ("core/a.c", ESSAY + "enum err f(struct x *x,\n           int a)\n{\n    int b = a;\n    return b;\n}\n", None),
    ("core/a.c", ESSAY + "#ifdef A\nint f(int a)\n{\n#else\nint f(void)\n{\n#endif\n    return 1;\n}\nint g;\n",
     "g: file-scope data"),
    ("core/a.c", ESSAY + "int f(void)\n{\n%s}\n" % ("    g();\n" * 97), None),
    ("core/a.c", ESSAY + "int f(void)\n{\n%s}\n" % ("    g();\n" * 98), "f has 101 lines"),
    ("core/a.c", ESSAY + "/* x */\n" * SOURCE_LINES_MAX, "lines, 900 are the most"),
    ("core/a.c", ESSAY + "void f(void)\n{\n    if (a)\n        goto out;\n    g();\nout:\n    h();\n}\n", None),
    ("core/a.c", ESSAY + "void f(void)\n{\nagain:\n    g();\n    if (a)\n        goto again;\n}\n", "goto upwards"),
    ("core/a.c", ESSAY + "void f(void)\n{\n    while ((n = g()) > 0)\n        h(n);\n}\n", "assignment inside"),
    ("core/a.c", ESSAY + "void f(void)\n{\n    if (a.x == b && a.y[0] == 1 && c <= d && e != f(&(struct x){.y = 1}))\n        h();\n}\n",
     None),
    ("core/a.c", ESSAY + "/* TODO: later */\n", "write TODO(name or #issue)"),
    ("core/a.c", ESSAY + "/* FIXME */\n", "write TODO(name or #issue)"),
    ("core/a.c", ESSAY + "/* TODO(#7): later */\n", None),
    ("core/a.c", "int f(void);\n", "the first line is not the SPDX line"),
    ("core/a.c", "/* SPDX-License-Identifier: Apache-2.0 */\n#include <stddef.h>\n", "no essay"),
    ("core/a.c", "/* SPDX-License-Identifier: Apache-2.0 */\n/* a.c: short. */\n", "the essay has 1 lines"),
    ("tests/unit/test_a.c", "/* SPDX-License-Identifier: Apache-2.0 */\n/* test_a.c: short. */\n", None),
    ("core/a.h", GUARD % "struct x;\nint f(struct x *x);\nextern const struct ops ops_a;\n", None),
    ("core/a.h", GUARD % "extern int counter;\n", "counter: extern data in a header"),
    ("core/a.h", GUARD % "extern const char *name;\n", "name: extern data in a header"),
    ("core/a.h", "/* SPDX-License-Identifier: Apache-2.0 */\nint f(void);\n", "no include guard"),
    ("core/a.h", GUARD % ("\n" * HEADER_LINES_MAX), "lines, 250 are the most"),
    ("core/a.h", GUARD % "static inline int f(void)\n{\n    static int n;\n    return n++;\n}\n", "n: static local"),
]


def self_test():
    wrong = 0
    for i, (path, text, expected) in enumerate(SAMPLES):
        report = Report()
        check_file(report, path, text)
        good = not report.lines if expected is None else len(report.lines) == 1 and expected in report.lines[0]
        if not good:
            wrong += 1
            print("sample %d (%s): expected %r, got %r\n%s" % (i, path, expected, report.lines, text[-400:]))
    if wrong:
        sys.exit("style: %d of %d samples are judged wrongly" % (wrong, len(SAMPLES)))
    print("style: all %d samples are judged as they should be" % len(SAMPLES))


def main(args):
    if args[:1] == ["--self-test"]:
        self_test()
        return
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    longest = args[:1] == ["--functions"]
    report, n = check_tree(here if longest or not args else args[0])
    if longest:
        for lines, path, line, name in sorted(report.functions, reverse=True)[:int(args[1]) if args[1:] else 20]:
            print("%4d  %s:%d %s" % (lines, path, line, name))
        return
    if n < 10:
        sys.exit("style: only %d source files found: this check would say nothing" % n)
    for line in report.lines:
        print(line)
    if report.lines:
        sys.exit("style: %d violation(s) in %d files" % (len(report.lines), n))
    print("style: %d files, %d functions, nothing to say" % (n, len(report.functions)))


main(sys.argv[1:])
