#!/usr/bin/env python3
"""Every public function stands in the synopsis of a manual page of section 3, every function in a synopsis is public,
and each page is sound mdoc. Functions that have no page yet stand in manual3_exempt.txt, which may only shrink: a name in
it that has a page, or is no function, is a fault. Usage: manual3_check.py   (in the source tree's root)"""
import fnmatch
import glob
import os
import re
import subprocess
import sys

EXEMPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "manual3_exempt.txt")
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUES", "SEE ALSO"]


def declared(text):
    """Public functions of a header's text; names that end in _ are its own."""
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    code = re.sub(r"^#.*?(?<!\\)$", "", code, flags=re.M | re.S)
    names = re.findall(r"^(?:BATON_API|static inline|static __attribute__\(\(unused\)\))(?!\w)[^;{}]*?\b(baton_\w+)\s*\(",
                       code, re.M)
    return {name for name in names if not name.endswith("_")}


def in_synopsis(page):
    synopsis = page.split(".Sh SYNOPSIS", 1)[-1].split("\n.Sh ", 1)[0]
    return set(re.findall(r"^\.F[no] (baton_\w+)", synopsis, re.M))


def check(functions, documented, exempt):
    coming = [line[1:] for line in exempt if line.startswith("+")]
    listed = {line for line in exempt if not line.startswith("+")}
    apart = lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in coming)  # noqa: E731
    faults = [f"{name}: in no manual page" for name in sorted(functions - documented - listed) if not apart(name)]
    faults += [f"{name}: in a manual page, but in no public header" for name in sorted(documented - functions)
               if not apart(name)]
    faults += [f"{name}: exempt, but it has a page now, or is no function: strike it" for name in
               sorted(listed - (functions - documented))]
    return faults


def page_faults(path, page):
    name = os.path.basename(path)
    faults = [f"{name}: no section {section}" for section in SECTIONS if f"\n.Sh {section}\n" not in page]
    described = page.split(".Sh DESCRIPTION", 1)[-1]
    faults += [f"{name}: {function} is in the synopsis only" for function in sorted(in_synopsis(page))
               if not re.search(rf"\b{function}\b", described)]
    try:
        done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", path], capture_output=True, text=True)
        faults += [f"{name}: {line}" for line in done.stderr.splitlines() if line.strip()]
    except FileNotFoundError:
        pass
    return faults


def selftest():
    header = "/* x */\nBATON_API int baton_a(void);\nstatic inline int baton_b(void) {\n}\nstatic inline int baton_c_(int n) {\n}\n"
    assert declared(header) == {"baton_a", "baton_b"}
    assert in_synopsis(".Sh SYNOPSIS\n.Fn baton_a void\n.Sh DESCRIPTION\n.Fn baton_b\n") == {"baton_a"}
    assert check({"a", "b"}, {"a"}, ["b"]) == [] and check({"a"}, {"a"}, []) == []
    assert check({"a", "b"}, {"a"}, ["+b*"]) == [] and check({"a"}, {"a", "b"}, ["+b"]) == []
    assert check({"a", "b"}, {"a"}, []) and check({"a"}, {"a", "b"}, []) and check({"a"}, {"a"}, ["a"]) and check(
        {"a"}, {"a"}, ["gone"])


def main():
    selftest()
    functions, documented, faults = set(), set(), []
    for path in glob.glob("include/baton/*.h"):
        with open(path, encoding="utf-8") as file:
            functions |= declared(file.read())
    for path in sorted(glob.glob("docs/*.3")):
        with open(path, encoding="utf-8") as file:
            page = file.read()
        documented |= in_synopsis(page)
        faults += page_faults(path, page)
    with open(EXEMPT, encoding="utf-8") as file:
        exempt = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    faults += check(functions, documented, exempt)
    print("\n".join(faults) or f"{len(functions)} functions, {len(functions & documented)} of them in a page")
    return 1 if faults or not functions else 0


if __name__ == "__main__":
    sys.exit(main())
