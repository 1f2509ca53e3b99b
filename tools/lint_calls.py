#!/usr/bin/env python3
"""Holds src/native/calls.def against the installed llama.h, or another table against its headers: every exported
function is classified, no other is, and each classification names an argument that is what it says. On another version
than the pinned one, what is missing is said and counts as EXCLUSIVE.
Usage: lint_calls.py --header llama.h --version 0.7.0 [--table calls.def] [--export LLAMA_API]"""

import argparse
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import native_header  # noqa: E402

EFFECTS = {"EXCLUSIVE", "READ", "FLAG", "SHARED", "SERIAL", "CREATE", "DESTROY", "GIVE", "PROCESS", "PURE"}


def parse_table(text):
    """(pinned version, {name: (effect, kind, argument)}, {(name, kind, argument)} with each ALSO, problems)."""
    problems, calls, also = [], {}, set()
    pinned = re.search(r"pinned: \S+ (\S+)", text)
    if not pinned:
        problems.append('no line "pinned: HEADER VERSION"')
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^[ \t]*#[^\n]*", " ", text, flags=re.M)
    for kind_of_row, name, effect, kind, arg in re.findall(
            r"\b(BT_CALL|BT_ALSO)\s*\(\s*(\w+)\s*,\s*(\w+)\s*,\s*(\w+)\s*,\s*(-?\d+)\s*\)", text):
        if effect not in EFFECTS:
            problems.append("%s: %s is no effect" % (name, effect))
        if kind_of_row == "BT_ALSO":
            also.add((name, kind, int(arg)))
        elif name in calls:
            problems.append("%s is classified twice" % name)
        else:
            calls[name] = (effect, kind, int(arg))
    return pinned.group(1) if pinned else "", calls, also, problems


def check(header_text, table_text, version, export="LLAMA_API"):
    """(errors, warnings)"""
    pinned, calls, also, errors = parse_table(table_text)
    functions = {f.name: f for f in native_header.functions(header_text, export)}
    differences = []
    for name, f in functions.items():
        if name not in calls:
            differences.append("%s(%s) is not classified: it counts as EXCLUSIVE" % (name, ", ".join(f.args)))
            continue
        effect, kind, arg = calls[name]
        listed = {(k, a) for n, k, a in also if n == name} | ({(kind, arg)} if kind != "NONE" else set())
        for k, a in sorted(set(native_header.objects(f)) - listed):
            differences.append("%s: argument %d is a %s, and no line says what happens to it" % (name, a, k))
        for k, a in sorted(listed - set(native_header.objects(f))):
            differences.append("%s: argument %d is no %s" % (name, a, k))
    for name in sorted(set(calls) - set(functions)):
        differences.append("%s is classified, and the header does not have it" % name)
    for name in sorted({n for n, _, _ in also} - set(calls)):
        errors.append("%s has a BT_ALSO and no BT_CALL" % name)
    if not functions:
        errors.append("the header exports nothing: is it the right file?")
    return (errors + differences, []) if version == pinned else (errors, differences)


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--header", required=True, action="append", help="may be given again, for headers of one library")
    p.add_argument("--version", required=True)
    p.add_argument("--table", default=os.path.join(here, "src/native/calls.def"))
    p.add_argument("--export", default="LLAMA_API", help="the macro that marks what is exported")
    args = p.parse_args()
    text = ""
    for name in args.header:
        with open(name) as header:
            text += header.read()
    with open(args.table) as table:
        errors, warnings = check(text, table.read(), args.version, args.export)
    for line in warnings:
        print("warning: " + line)
    for line in errors:
        print("error: " + line)
    print("%s %s: %d errors, %d warnings" % (" ".join(args.header), args.version, len(errors), len(warnings)))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
