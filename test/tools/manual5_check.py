#!/usr/bin/env python3
"""The manual page of the configuration file and the program agree: a section of the page has the keys that `--check`
prints for it, and no others; the page's example and examples/baton.ini are without faults."""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PAGE = os.path.join(ROOT, "docs", "baton.ini.5")


def check(program, path):
    done = subprocess.run([program, "serve", "-c", path, "--check"], capture_output=True, text=True, timeout=20)
    return done.stdout, [f"{path}: {line}" for line in done.stderr.splitlines()]


def keys_of_program(program):
    """Section's kind -> its keys."""
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as f:
        f.write("[model a]\nfile = builtin\n[role r]\nmodels = a\n")
        f.flush()
        out, faults = check(program, f.name)
    found = {}
    for line in out.splitlines():
        if match := re.match(r"\[(\w+)", line):
            keys = found.setdefault(match.group(1), set())
        elif match := re.match(r"(?:; )?(\w+) (?:=|is not set)", line):
            keys.add(match.group(1))
    return found, faults


def keys_of_page(page):
    found = {}
    for title, body in re.findall(r"^\.Ss \[(\w+)[^\n]*\n(.*?)(?=^\.S[sh] )", page, re.S | re.M):
        found[title] = {key for line in re.findall(r"^\.It Ic (.*?) No =", body, re.M) for key in line.split(" , ")}
    return found


def main():
    program = os.environ["BATON_PROGRAM"]
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    has, faults = keys_of_program(program)
    says = keys_of_page(page)
    says.pop("defaults", None)  # refers to [model NAME]
    if not has:
        faults.append("--check prints no section")
    for section in sorted(has.keys() | says.keys()):
        mine, theirs = has.get(section, set()), says.get(section, set())
        faults += [f"[{section}] {key}: not in the page" for key in sorted(mine - theirs)]
        faults += [f"[{section}] {key}: in the page, but --check does not print it" for key in sorted(theirs - mine)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "page.ini")
        example = re.search(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", page, re.S | re.M).group(1)
        for name in re.findall(r"^file = (\S+)", example, re.M):
            open(os.path.join(folder, name), "w", encoding="utf-8").close()
        with open(path, "w", encoding="utf-8") as file:
            file.write(example)
        faults += check(program, path)[1] + check(program, os.path.join(ROOT, "examples", "baton.ini"))[1]
    print("\n".join(faults) or f"{sum(map(len, has.values()))} keys in {len(has)} sections")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
