#!/usr/bin/env python3
"""docs/errors.md has every status of baton.h once, in its order and under its family, with its number and text, the HTTP
code that src/serve answers with, and the exit code of src/cli. Usage: errors_check.py   (in the source tree's root)"""
import re
import sys

HEADINGS = {"Outcomes": "OUTCOME", "Bugs of the caller": "BUG", "The world": "WORLD"}
STREAM_ONLY = {"END", "AGAIN"}  # never what became of a request


def statuses(header):
    """[(name, number, family, text)] of the X-macro."""
    return re.findall(r'^\s*X\((\w+), (\d+), (\w+), "([^"]*)"\)', header, re.M)


def http_codes(source):
    return dict(re.findall(r"\{BATON_(\w+), (\d{3}),", source))


def asked_wrongly(source):
    """The statuses that end the command with 2."""
    line = next(line for line in source.splitlines() if "? 2 : 1" in line)
    return set(re.findall(r"== BATON_(\w+)", line))


def rows(page):
    """[(name, number, family, text, when, http, exit)] of the tables."""
    found, family = [], None
    for line in page.splitlines():
        if line.startswith("## "):
            family = HEADINGS.get(line[3:])
        elif line.startswith("| `BATON_"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) != 7:
                found.append((line, "", "", "", "", "", ""))
            else:
                found.append((cells[0].strip("`")[len("BATON_"):], cells[1], family, cells[2], cells[3], cells[5], cells[6]))
    return found


def check(header, serve, cli, page):
    codes, wrong, faults = http_codes(serve), asked_wrongly(cli), []
    want = []
    for name, number, family, text in statuses(header):
        http = "–" if name in STREAM_ONLY else "200" if name == "OK" else codes.get(name, "500")
        leave = "–" if name in STREAM_ONLY else "0" if name == "OK" else "2" if name in wrong else "1"
        want.append((name, number, family, text, http, leave))
    have = [row[:4] + row[5:] for row in rows(page)]
    faults += [f"missing or different: {row}" for row in want if row not in have]
    faults += [f"not in the code like this: {row}" for row in have if row not in want]
    if not faults and have != want:
        faults.append("the order is not that of the header")
    return faults + [f"BATON_{row[0]}: no word on when it comes" for row in rows(page) if not row[4]], len(want)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main():
    sources = [read("include/baton/baton.h"), read("src/serve/openai_out.c"), read("src/cli/common.c")]
    page = read("docs/errors.md")
    for change in (("| 429 |", "| 430 |"), ("| 33 |", "| 34 |"), ("stream has", "stream"), ("| 2 |\n", "| 1 |\n"),
                   ("| `BATON_IO`", "| BATON_IO"), ("## The world", "## Elsewhere")):
        if change[0] not in page or not check(*sources, page.replace(*change))[0]:
            sys.exit(f"this check does not notice {change}")
    faults, n = check(*sources, page)
    print("\n".join(faults) or f"{n} statuses")
    return 1 if faults or n < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
