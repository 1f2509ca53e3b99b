#!/usr/bin/env python3
"""The tree's own rules, checked without a compiler. `make lint` runs this beside clang-format and clang-tidy; ctest
runs it as lint/tree.

    tools/lint.py [--root DIR] [FILE...]

Rules (the name in brackets is what a finding begins with):
  [function-length]   at most 70 lines, C and Python: what does not fit on a screen is not read
  [file-length]       at most 600 lines
  [header-comment]    a C file opens with a comment: what it is for, who owns its state
  [tab] [whitespace] [newline]
  [banned-call]       unbounded copies, silent conversions, shells, sleeps in product code, forks outside known places
  [arrow]             a folder includes only what lies to its right (ARCHITECTURE.md), a public header nothing internal
  [native]            llama.h, ggml.h and what they declare: in src/native/ and bench/ only
  [public-comment]    a public function says Threads, Blocks and Since
  [symbol-prefix]     a function with external linkage begins with bt_ or baton_
  [script]            a script has its executable bit and its shebang, or neither
  [conflict]          no marker of a merge is left
  [stray]             nothing that a build, a test, an editor or a merge leaves behind is in the tree
  [package-host]      no file names a package mirror or registry: where packages come from is the machine's business

Exit: 0 clean, 1 findings, 2 bad usage.
"""
import argparse
import ast
import os
import re
import subprocess
import sys

FUNCTION_LINES, FILE_LINES = 70, 600

# folder under src/ -> what it may include besides itself, base/ and the public headers. Of native/ only headers of plain
# types; race.h is the demonstration of a fault, for the command alone.
ARROWS = {
    "base": (),
    "gate": (),
    "lease": ("gate/", "owner/", "native/native.h"),
    "native": (),
    "wire": ("native/native.h", "native/whisper.h", "native/sd.h"),
    "owner": ("wire/", "native/native.h", "native/whisper.h", "native/sd.h"),
    "ipc": ("owner/", "wire/", "gate/", "native/native.h", "native/whisper.h", "native/sd.h"),
    "child": ("owner/", "wire/", "native/native.h", "native/whisper.h", "native/sd.h", "native/fake.h"),
    "task": ("gate/",),
    "api": ("task/", "ipc/", "wire/", "lease/", "owner/", "gate/", "native/native.h", "native/sd.h",
            "native/whisper.h"),
    "config": ("ipc/front.h",),
    "serve": ("ipc/", "wire/", "gate/", "native/native.h"),
    "work": ("task/", "serve/openai_in.h", "serve/openai_out.h", "serve/embed_out.h", "serve/speech_in.h",
             "serve/speech_out.h", "serve/draw_in.h", "serve/draw_out.h", "serve/served.h", "config/", "ipc/", "wire/", "gate/", "native/native.h"),
    "cli": ("work/", "task/", "serve/", "config/", "ipc/", "wire/", "lease/", "gate/", "owner/owner.h", "native/native.h",
            "native/race.h"),
}
FOLDERS = tuple(folder + "/" for folder in ARROWS)

NATIVE = re.compile(r"\b(?:llama|ggml|gguf|whisper|mtmd|sd)_\w+|\b(?:LLAMA|GGML|GGUF|WHISPER)_[A-Z]\w*")
NATIVE_HEADER = re.compile(r"(?:(?:llama|ggml|gguf|whisper|mtmd)(?:[-_].*)?|stable-diffusion)\.h$")
MAY_USE_NATIVE = ("src/native/", "bench/", "include/baton/overlay/", "test/overlay/", "test/standin/")
BINDINGS = ("include/baton/llama.h", "include/baton/whisper.h", "include/baton/sd.h")  # they hand the pointer out

# call -> (why not, path prefixes where it is fine)
BANNED = {
    "strcpy": ("unbounded; use bt_buf or snprintf", ()),
    "strcat": ("unbounded; use bt_buf", ()),
    "sprintf": ("unbounded; use snprintf", ()),
    "vsprintf": ("unbounded; use vsnprintf", ()),
    "gets": ("unbounded; use fgets or getline", ()),
    "strtok": ("hidden state", ()),
    "atoi": ("cannot fail; use strtol and check", ()),
    "atol": ("cannot fail; use strtol and check", ()),
    "atof": ("cannot fail; use strtod and check", ()),
    "alloca": ("unbounded stack", ()),
    "system": ("starts a shell", ()),
    "popen": ("starts a shell", ()),
    "signal": ("use sigaction, and only in a program", ("test/",)),
    "pthread_cancel": ("leaves locks and memory behind; use a cancel flag", ()),
    "rand": ("use bt_draw or bt_random64", ("test/", "bench/")),
    "sleep": ("wait for the event instead", ("test/", "bench/")),
    "usleep": ("wait for the event instead", ("test/", "bench/")),
    "nanosleep": ("wait for the event instead", ("test/", "bench/", "src/native/fake", "src/cli/demo_policy.c")),
    "clock_nanosleep": ("wait for the event instead", ("test/", "bench/", "src/native/fake")),
    "fork": ("a fork of a threaded program; only the demo's children and tests do it",
             ("test/", "bench/", "src/cli/demo", "src/cli/child.c", "src/native/race")),
}
PACKAGE_HOSTS = re.compile(
    r"(?:deb|snapshot|security|ftp|archive|ports)\.[a-z.]*(?:debian|ubuntu)\.(?:org|com)\b"
    r"|\bpypi\.org|\bpythonhosted\.org|\bregistry\.npmjs|\bcrates\.io|\bproxy\.golang\.org", re.I)

TEXT = (".c", ".h", ".cc", ".py", ".sh", ".md", ".txt", ".cmake", ".json", ".mutant", ".1", ".3", ".5", ".ini", ".def", ".pins", ".yml", "")
CONFLICT = re.compile(r"(?:<{7}|>{7}|\|{7})(?: |$)")
STRAY = re.compile(r"(?:\.(?:state|o|a|so|d|gcda|gcno|orig|rej|log|tmp|swp|bak|pyc|core|profraw)|~)$|(?:^|/)(?:core|a\.out|vgcore\.\d+|"
                   r"CMakeCache\.txt|CTestTestfile\.cmake|compile_commands\.json|Testing/.*|CMakeFiles/.*)$")
RAW = ("fuzz/corpus/",)  # bytes as they are: no rule for text
SKIP_DIRS = {".git", ".deps", "build", "__pycache__"}


class Findings:
    def __init__(self):
        self.lines = []

    def add(self, path, line, rule, text):
        self.lines.append(f"{path}:{line}: [{rule}] {text}")


def tree_files(root):
    """What git tracks or would track; the whole folder where there is no git."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True,
                             check=True).stdout.decode()
        names = [name for name in out.split("\0") if name and os.path.isfile(os.path.join(root, name))]
        if names:
            return sorted(names)
    except (OSError, subprocess.CalledProcessError):
        pass
    names = []
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if d not in SKIP_DIRS]
        names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(names)


def blank_c(text):
    """Comments, strings and characters become spaces; lines stay where they are."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def spaces(match):
        kind = match.group(0)
        inner = re.sub(r"[^\n]", " ", kind[1:-1]) if kind[0] in "\"'" else re.sub(r"[^\n]", " ", kind)
        return kind[0] + inner + kind[0] if kind[0] in "\"'" else inner
    return token.sub(spaces, text)


def c_functions(code):
    """(name, first line, last line, is static) of each function body, in clang-format's layout: the body's brace ends
    a line whose statement began in column 0, and its closing brace stands alone in column 0."""
    start, head = None, ""
    for number, line in enumerate(code.split("\n"), 1):
        if start is None:
            if line[:1] in ("", "#", "}", " ", "{") and not head:
                continue
            head, begun = (head + " " + line.strip(), begun) if head else (line, number)
            if line.rstrip().endswith((";", "\\")):
                head = ""
            elif line.rstrip().endswith("{"):
                head = re.sub(r"\bBATON_[A-Z_]+\s*\([^()]*\)", "", head)  # annotations are no functions
                match = re.search(r"(\w+)\s*\(", head)
                if match and not re.match(r"(typedef|struct|enum|union|extern)\b[^(]*\{", head) and "=" not in head:
                    start = (match.group(1), begun, bool(re.match(r"static\b|.*\bstatic inline\b", head)))
                else:
                    start = (None, begun, True)
                head = ""
        elif line.startswith("}"):
            if start[0]:
                yield start[0], start[1], number, start[2]
            start = None


def check_c(path, text, findings):
    if not text.startswith("/*"):
        findings.add(path, 1, "header-comment", "the file must open with a comment: what it is for, who owns its state")
    if "\t" in text:
        findings.add(path, text[:text.index("\t")].count("\n") + 1, "tab", "indent with four spaces")
    code = blank_c(text)
    for name, first, last, static in c_functions(code):
        if last - first + 1 > FUNCTION_LINES:
            findings.add(path, first, "function-length", f"{name} has {last - first + 1} lines, at most {FUNCTION_LINES}")
        if path.startswith("src/") and not static and not name.startswith(("bt_", "baton_")) and name != "main":
            findings.add(path, first, "symbol-prefix", f"{name} is visible to the linker: static, or bt_ or baton_")
    for match in re.finditer(r"(?<![\w.>])(\w+)\s*\(", code):
        why = BANNED.get(match.group(1))
        if why and not path.startswith(why[1]):
            findings.add(path, code[:match.start()].count("\n") + 1, "banned-call", f"{match.group(1)}: {why[0]}")


def includes(text):
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def check_arrows(path, text, findings):
    folder = re.match(r"src/(\w+)/", path)
    here = folder.group(1) if folder else None
    if here and here not in ARROWS:
        findings.add(path, 1, "arrow", f"folder {here}/ has no place in ARROWS (tools/lint.py) yet")
        return
    for number, header in includes(text):
        if not header.startswith(FOLDERS):
            continue
        if path.startswith("include/"):
            findings.add(path, number, "arrow", f"a public header may not include the internal {header}")
        elif here and not header.startswith((here + "/", "base/") + ARROWS[here]):
            findings.add(path, number, "arrow", f"{here}/ may not include {header}")


def check_native(path, text, findings):
    if path.startswith(MAY_USE_NATIVE) or path in BINDINGS:
        return
    for number, header in includes(text):
        if NATIVE_HEADER.match(os.path.basename(header)) and not header.startswith(("baton/",) + FOLDERS):
            findings.add(path, number, "native", f"the native header {header} outside src/native/")
    code = re.sub(r"\bstruct (?:llama_context|whisper_context|whisper_state)\b", "", blank_c(text))  # tags that bindings pass on
    for number, line in enumerate(code.split("\n"), 1):
        match = None if re.match(r"\s*#\s*include\b", line) else NATIVE.search(line)
        if match:
            findings.add(path, number, "native", f"the native symbol {match.group(0)} outside src/native/")


def check_public(path, text, findings):
    """The comment above each public function: those marked BATON_API, and the header-only ones."""
    if not path.startswith("include/"):
        return
    pattern = r"((?:/\*(?:(?!\*/).)*\*/\s*)?)^(?:BATON_API|static inline)\b[^;{]*?\b(baton_\w+)\s*\("
    for match in re.finditer(pattern, text, re.S | re.M):
        comment, name = match.groups()
        if "__" in name or name.endswith("_"):
            continue
        for field in ("Threads:", "Blocks:", "Since:"):
            if field not in comment:
                line = text[:match.end()].count("\n") + 1
                findings.add(path, line, "public-comment", f"{name} does not say '{field}'")


def check_python(path, text, findings):
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        findings.add(path, error.lineno or 1, "python", str(error))
        return
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                findings.add(path, node.lineno, "function-length", f"{node.name} has {lines} lines, at most {FUNCTION_LINES}")


def check_script(root, path, text, findings):
    runnable, shebang = os.access(os.path.join(root, path), os.X_OK), text.startswith("#!")
    if shebang and not runnable:
        findings.add(path, 1, "script", "has a shebang but no executable bit")
    if runnable and not shebang:
        findings.add(path, 1, "script", "is executable but has no shebang")
    if path.startswith("tools/") and path.endswith((".py", ".sh")) and not shebang and "__main__" in text:
        findings.add(path, 1, "script", "has no shebang")


def check_text(path, text, findings):
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            findings.add(path, number, "whitespace", "trailing whitespace")
        if CONFLICT.match(line):
            findings.add(path, number, "conflict", "a merge was not finished here")
        if PACKAGE_HOSTS.search(line):
            findings.add(path, number, "package-host", "names a package host")
    if text and not text.endswith("\n"):
        findings.add(path, len(lines), "newline", "no newline at the end of the file")
    if path.endswith((".c", ".h", ".py")) and len(lines) - 1 > FILE_LINES:
        findings.add(path, len(lines) - 1, "file-length", f"{len(lines) - 1} lines, at most {FILE_LINES}")


def check_file(root, path, findings):
    if STRAY.search(path):
        findings.add(path, 1, "stray", "is generated, or was left behind: remove it, or ignore it")
    if os.path.splitext(path)[1] not in TEXT or path.startswith(RAW):
        return
    with open(os.path.join(root, path), "rb") as file:
        raw = file.read()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        findings.add(path, 1, "encoding", "not UTF-8")
        return
    check_text(path, text, findings)
    check_script(root, path, text, findings)
    if path.endswith((".c", ".h")):
        check_c(path, text, findings)
        check_public(path, text, findings)
    if path.endswith((".c", ".h", ".cc", ".def")):
        check_arrows(path, text, findings)
        check_native(path, text, findings)
    if path.endswith(".py"):
        check_python(path, text, findings)


def main():
    parser = argparse.ArgumentParser(description="checks the tree's own rules")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    parser.add_argument("files", nargs="*", help="relative to the root; default: the whole tree")
    args = parser.parse_args()
    findings = Findings()
    files = args.files or tree_files(args.root)
    for path in files:
        check_file(args.root, path, findings)
    for line in findings.lines:
        print(line)
    print(f"lint: {len(files)} files, {len(findings.lines)} findings")
    return 1 if findings.lines else 0


if __name__ == "__main__":
    sys.exit(main())
