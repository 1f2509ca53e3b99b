#!/usr/bin/env python3
"""What libbaton.so shows: its soname, and exactly the functions that the public headers declare, at their version.
Usage: exports.py LIBRARY   (run in the source tree's root)"""
import glob
import re
import subprocess
import sys

VERSION, SONAME = "BATON_0.1", "libbaton.so.0"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check(dynamic, symbols, headers):
    """Faults, given what readelf -d and nm -D --with-symbol-versions say and the headers' text."""
    faults = []
    if f"soname: [{SONAME}]" not in dynamic:
        faults.append(f"the soname is not {SONAME}")
    exported = set()
    for line in symbols.splitlines():
        kind, name = line.split()[-2:]
        if kind == "A" and name.split("@")[0] == VERSION:
            continue  # the version itself
        plain, _, version = name.replace("@@", "@").partition("@")
        exported.add(plain)
        if not plain.startswith("baton_"):
            faults.append(f"{plain} is exported and does not begin with baton_")
        if version != VERSION:
            faults.append(f"{plain} has the version {version or '(none)'}, not {VERSION}")
    code = re.sub(r"/\*.*?\*/", "", headers, flags=re.S)
    declared = set(re.findall(r"BATON_API\b(?!\s*__attribute__)[^;{}]*?\b(baton_\w+)\s*\(", code))
    faults += [f"{name} is exported, but no public header declares it" for name in sorted(exported - declared)]
    faults += [f"{name} is declared, but not exported" for name in sorted(declared - exported)]
    return faults, len(exported)


def selftest():
    """The check can fail: each fault in a small example is found."""
    dynamic, symbols = f"Library soname: [{SONAME}]", f"0 A {VERSION}\n1 T baton_a@@{VERSION}\n"
    header = "BATON_API int baton_a(void);"
    assert check(dynamic, symbols, header) == ([], 1)
    for bad in (("", symbols, header), (dynamic, symbols + f"2 T bt_b@@{VERSION}\n", header),
                (dynamic, f"1 T baton_a@@OTHER\n", header), (dynamic, symbols, header + "BATON_API int baton_b(void);"),
                (dynamic, symbols, "/* BATON_API int baton_a(void); */")):
        assert check(*bad)[0], bad


def main():
    selftest()
    headers = ""
    for path in glob.glob("include/baton/*.h"):
        with open(path, encoding="utf-8") as file:
            headers += file.read()
    faults, n = check(output("readelf", "-d", sys.argv[1]),
                      output("nm", "-D", "--defined-only", "--with-symbol-versions", sys.argv[1]), headers)
    print("\n".join(faults) or f"{n} functions, {SONAME}, {VERSION}")
    return 1 if faults or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
