#!/usr/bin/env python3
"""Writes include/baton/overlay/llama_calls.def: the functions of a llama.h that need their context held, from what
src/native/calls.def says of them (EXCLUSIVE and READ on a context or its memory handle). A function that the table does
not know counts as EXCLUSIVE.

    make_overlay.py --header llama.h --version X.Y.Z [--output FILE]   for another llama.h than baton's: FILE elsewhere
    make_overlay.py --header llama.h --version X.Y.Z --check           is the one in the tree up to date?

Exit: 0 done; 1 with --check: out of date; 2 bad usage; 77 with --check: another llama.h than the table's."""

import argparse
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))
import lint_calls  # noqa: E402
import native_header  # noqa: E402

NEEDS = {"EXCLUSIVE": "BATON_REQUIRES", "READ": "BATON_REQUIRES_SHARED"}
ROW = re.compile(r"\b(?:BT_CALL|BT_ALSO)\s*\(\s*(\w+)\s*,\s*(\w+)\s*,\s*(\w+)\s*,\s*(-?\d+)\s*\)")
HEAD = """\
/* Made by tools/make_overlay.py from src/native/calls.def and llama.h %s: do not edit. Included by
 * baton/overlay/llama.h alone, which says what the words mean. */
"""


def effects(table_text):
    """{(name, argument): effect} of every row; {name}."""
    text = re.sub(r"/\*.*?\*/", " ", table_text, flags=re.S)
    rows = {(name, int(arg)): effect for name, effect, _, arg in ROW.findall(text)}
    return rows, {name for name, _ in rows}


def demands(function, rows, known):
    """(is it the memory handle's, the macros) for one function; no macros: it needs nothing."""
    words, memory = [], False
    for kind, index in native_header.objects(function):
        if kind not in ("CONTEXT", "MEMORY"):
            continue
        effect = rows.get((function.name, index)) if function.name in known else "EXCLUSIVE"
        if effect in NEEDS:
            parameter = re.search(r"(\w+)\s*$", function.args[index]).group(1)
            words.append("%s(%s)" % (NEEDS[effect], parameter))
            memory = memory or kind == "MEMORY"
    return memory, words


def overlay(header_text, table_text, version):
    rows, known = effects(table_text)
    out = [HEAD % version]
    for function in native_header.functions(header_text):
        memory, words = demands(function, rows, known)
        if not words:
            continue
        macro = "BATON_LLAMA_OLD_CALL_" if function.deprecated else "BATON_LLAMA_%sCALL_" % ("MEMORY_" if memory else "")
        parameters = ", ".join(re.sub(r"\*\s+", "*", arg) for arg in function.args)
        out.append("%s(%s, %s, (%s), %s)\n" % (macro, function.returns, function.name, parameters, " ".join(words)))
    return "".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--header", required=True)
    p.add_argument("--version", required=True)
    p.add_argument("--table", default=os.path.join(ROOT, "src/native/calls.def"))
    p.add_argument("--output", default=os.path.join(ROOT, "include/baton/overlay/llama_calls.def"))
    p.add_argument("--check", action="store_true")
    args = p.parse_args()
    with open(args.header) as header, open(args.table) as table:
        table_text = table.read()
        text = overlay(header.read(), table_text, args.version)
    if not args.check:
        with open(args.output, "w") as out:
            out.write(text)
        return 0
    pinned = lint_calls.parse_table(table_text)[0]
    if args.version != pinned:
        print("skipped: this is llama.h %s, and the table is for %s" % (args.version, pinned))
        return 77
    with open(args.output) as file:
        if file.read() == text:
            return 0
    print("error: %s is out of date: run tools/make_overlay.py --header %s --version %s"
          % (os.path.relpath(args.output, ROOT), args.header, args.version))
    return 1


if __name__ == "__main__":
    sys.exit(main())
