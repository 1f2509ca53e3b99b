#!/usr/bin/env python3
"""The manual page and `baton SUBCOMMAND --help` name the same options: each one that help prints stands in the page, and
each one in the page is printed by some help."""
import os
import re
import subprocess
import sys

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "baton.1")


def help_of(program, *command):
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        sys.exit(f"{' '.join([program, *command])} --help: exit {done.returncode}: {done.stderr}")
    return done.stdout


def main():
    program = os.environ["BATON_PROGRAM"]
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    commands = re.findall(r"^  (\w+) ", help_of(program), re.M)
    faults = [f"{name}: a subcommand that the page does not name" for name in commands if f".Cm {name}\n" not in page]
    if not commands:
        faults.append("baton --help lists no subcommand")
    printed = {"help", "version"}
    for name in commands:
        options = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*[a-z])", help_of(program, name)))
        printed |= options
        faults += [f"--{option} of baton {name}: not in the page" for option in sorted(options)
                   if not re.search(rf"Fl -{option}\b(?!-)", page)]
    in_page = set(re.findall(r"Fl -([a-z][a-z-]*[a-z])", page))
    faults += [f"--{option}: in the page, but no --help prints it" for option in sorted(in_page - printed)]
    print("\n".join(faults) or f"{len(in_page)} options, {len(commands)} subcommands")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
