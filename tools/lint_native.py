#!/usr/bin/env python3
"""The architecture as a test: native symbols and headers only in src/native/ and bench/, and includes between the
folders of src/ only along the arrows (ARCHITECTURE.md). Usage: lint_native.py [root]"""

import os
import re
import sys

NATIVE = re.compile(r"\b(?:llama|ggml|gguf|whisper|mtmd)_\w+|\b(?:LLAMA|GGML|GGUF|WHISPER)_[A-Z]\w*")
NATIVE_HEADER = re.compile(r"^(?:llama|ggml|gguf|whisper|mtmd)(?:[-_].*)?\.h$")
OWN_HEADERS = ("baton/", "native/")  # baton/whisper.h, native/whisper.h: the folders' arrows say who may
MAY_USE_NATIVE = ("src/native/", "bench/", "include/baton/overlay/", "test/overlay/")
BINDINGS = {"include/baton/llama.h", "include/baton/whisper.h", "include/baton/sd.h"}  # they hand the pointer out

# What a folder may include besides itself, base/ and the public headers. native/: only the headers without native
# types; race.h is the demonstration of a fault, for the programs alone.
ARROWS = {
    "base": (),
    "gate": (),
    "lease": ("gate/", "owner/", "native/native.h"),
    "native": (),
    "wire": ("native/native.h",),
    "owner": ("wire/", "native/native.h"),
    "ipc": ("owner/", "wire/", "gate/", "native/native.h"),
    "api": ("ipc/", "wire/", "lease/", "owner/", "gate/", "native/native.h"),
    "serve": ("ipc/", "wire/", "gate/", "native/native.h"),
    "work": ("ipc/", "wire/", "gate/", "native/native.h"),
    "cli": ("serve/", "work/", "ipc/", "owner/", "wire/", "lease/", "gate/", "native/native.h", "native/race.h"),
}
FOLDERS = tuple(folder + "/" for folder in ARROWS)
SUFFIXES = (".c", ".h", ".def", ".cc", ".cpp", ".hpp")


def code_only(text):
    """Comments and literals become spaces, lines stay; include lines keep their names."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    keep = re.compile(r"^[ \t]*#[ \t]*include[^\n]*", re.M)
    includes = {m.start(): m.group(0) for m in keep.finditer(text)}
    text = re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", blank, text, flags=re.S)
    for at, line in includes.items():
        if text[at:at + len(line)].strip():
            text = text[:at] + line + text[at + len(line):]
    return text


def check_file(path, text):
    """Problems of one file; path is relative to the root, with slashes."""
    problems = []
    parts = path.split("/")
    folder = parts[1] if parts[0] == "src" and len(parts) > 2 else None
    if folder is not None and folder not in ARROWS:
        problems.append("%s: folder %s has no place in the arrows of lint_native.py" % (path, folder))
    native = path.startswith(MAY_USE_NATIVE) or path in BINDINGS
    for number, line in enumerate(code_only(text).split("\n"), 1):
        where = "%s:%d: " % (path, number)
        include = re.match(r"\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", line)
        if not include:
            found = None if native else NATIVE.search(line.replace("struct llama_context", ""))  # the bindings' tag
            if found:
                problems.append(where + "native symbol %s outside src/native/" % found.group(0))
            continue
        name = include.group(1)
        if not native and NATIVE_HEADER.match(os.path.basename(name)) and not name.startswith(OWN_HEADERS):
            problems.append(where + "native header %s outside src/native/" % name)
        internal = name.startswith(FOLDERS)
        if internal and parts[0] == "include":
            problems.append(where + "a public header includes the internal %s" % name)
        if folder in ARROWS and internal and not name.startswith((folder + "/", "base/")):
            if not name.startswith(ARROWS[folder]):
                problems.append(where + "%s/ may not include %s: arrows go only to the right" % (folder, name))
    return problems


def check_tree(root):
    problems, files = [], 0
    for top in ("src", "include", "test", "examples", "fuzz", "sim", "bench"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(SUFFIXES):
                    full = os.path.join(folder, name)
                    with open(full, encoding="utf-8") as f:
                        problems += check_file(os.path.relpath(full, root).replace(os.sep, "/"), f.read())
                    files += 1
    return problems, files


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    problems, files = check_tree(root)
    for text in problems:
        print("error: " + text)
    print("%d files, %d errors" % (files, len(problems)))
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
