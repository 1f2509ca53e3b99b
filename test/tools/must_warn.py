#!/usr/bin/env python3
"""Compiles the files of the given folders and holds what the compilers say against what the files say of themselves.

The opening comment of a file may have lines
    expect: REGEX      what it must be refused with; several: one line each. None: nothing may be said at all.
    with: every        GCC, too; without this line only Clang, which alone has the analysis
    flags: -DX -DY
Every diagnostic must match an expectation and stand in a line marked "here", and every such line must have one. Without
the analysis (with: every has no such run) the file must compile clean, so that nothing else is what it fails for.

    must_warn.py [--include DIR]... [--cc gcc] [--cxx g++] FOLDER...

Exit: 0; 1 something is not as the files say; 77 no Clang here (files for every compiler were checked all the same)."""

import argparse
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STRICT = ["-Wall", "-Wextra", "-Wshadow", "-Wredundant-decls", "-fsyntax-only", "-D_GNU_SOURCE"]
ANALYSIS = ["-Wthread-safety", "-Wthread-safety-beta"]
VERSIONS = [""] + ["-%d" % n for n in range(22, 13, -1)]


def clangs():
    """[(clang, clang++)] of every version that is here, each once."""
    found = {}
    for version in VERSIONS:
        c, cxx = shutil.which("clang" + version), shutil.which("clang++" + version)
        if c and cxx:
            found.setdefault(os.path.realpath(c), (c, cxx))
    return list(found.values())


class Case:
    def __init__(self, path):
        self.path = path
        with open(path) as file:
            text = file.read()
        head = text[:text.find("*/")]
        self.expect = re.findall(r"^[ */]*expect: (.*?)\s*$", head, re.M)
        self.every = re.search(r"^[ */]*with: every\s*$", head, re.M) is not None
        flags = re.search(r"^[ */]*flags: (.*?)\s*$", head, re.M)
        self.flags = flags.group(1).split() if flags else []
        self.marked = {n for n, line in enumerate(text.split("\n"), 1) if re.search(r"(/\*|//) here\b", line)}

    def plan(self, clang, gcc):
        """(compiler, flags, whether the expectations hold) of each run."""
        pick = 1 if self.path.endswith(".cc") else 0
        std = ["-std=c++11"] if pick else ["-std=gnu11"]
        for pair in clang:
            yield pair[pick], std + ANALYSIS + self.flags, bool(self.expect)
            if not self.every:
                yield pair[pick], std + self.flags, False
        if gcc[pick]:
            yield gcc[pick], std + self.flags, bool(self.expect) and self.every


def run(case, compiler, flags, includes):
    """[(line, text)] of the warnings and errors in the file itself, and those elsewhere with line 0."""
    out = subprocess.run([compiler] + flags + STRICT + includes + [case.path], capture_output=True, text=True,
                         env=dict(os.environ, LC_ALL="C"), check=False).stderr
    found = re.findall(r"^(.*?):(\d+):\d+: (?:warning|error|fatal error): (.*)$", out, re.M)
    return [(int(line) if file == case.path else 0, text if file == case.path else "%s:%s: %s" % (file, line, text))
            for file, line, text in found]


def judge(case, diagnostics, expected):
    """What is wrong, as texts."""
    wrong = []
    for line, text in diagnostics:
        if not expected:
            wrong.append("%d: unexpected: %s" % (line, text))
        elif line not in case.marked:
            wrong.append("%d: not marked: %s" % (line, text))
        elif not any(re.search(e, text) for e in case.expect):
            wrong.append("%d: another text than expected: %s" % (line, text))
    if expected:
        missing = case.marked - {line for line, _ in diagnostics}
        wrong += ["%d: nothing was said" % line for line in sorted(missing)]
        wrong += ["nothing matches: %s" % e for e in case.expect if not any(re.search(e, t) for _, t in diagnostics)]
        wrong += [] if case.marked else ["no line is marked"]
    return wrong


def check(case, clang, gcc, includes):
    wrong, runs = [], 0
    folder = os.path.basename(os.path.dirname(case.path))
    if folder in ("must_warn", "must_pass") and bool(case.expect) != (folder == "must_warn"):
        wrong.append("a file in %s %s expectations" % (folder, "has" if case.expect else "has no"))
    for compiler, flags, expected in case.plan(clang, gcc):
        runs += 1
        wrong += ["%s %s: %s" % (os.path.basename(compiler), " ".join(flags), text)
                  for text in judge(case, run(case, compiler, flags, includes), expected)]
    return wrong, runs


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--include", action="append", default=[], help="a folder of system headers")
    p.add_argument("--cc", default=shutil.which("gcc"))
    p.add_argument("--cxx", default=shutil.which("g++"))
    p.add_argument("folders", nargs="+")
    args = p.parse_args()
    includes = ["-I" + os.path.join(ROOT, "include"), "-I" + os.path.join(ROOT, "src")]
    for folder in args.include:
        includes += ["-isystem", folder]
    clang, bad, files, runs = clangs(), 0, 0, 0
    for folder in args.folders:
        names = sorted(n for n in os.listdir(folder) if n.endswith((".c", ".cc")))
        for name in names:
            files += 1
            wrong, n = check(Case(os.path.join(folder, name)), clang, (args.cc, args.cxx), includes)
            runs += n
            bad += bool(wrong)
            print("%-4s %s/%s" % ("FAIL" if wrong else "ok", os.path.basename(folder), name))
            for text in wrong:
                print("       " + text)
    print("%d files, %d compilations, %d wrong; clang: %s" % (
        files, runs, bad, ", ".join(os.path.basename(c) for c, _ in clang) or "none"))
    if bad or not files:
        return 1
    return 0 if clang else 77


if __name__ == "__main__":
    sys.exit(main())
