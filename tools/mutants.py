#!/usr/bin/env python3
"""Shows that the tests can fail: takes one protection away at a time and demands that the test named for it notices.

    tools/mutants.py [--list] [NAME...]      NAME: part of a mutant's file name, e.g. P02

A mutant is a file test/mutants/NAME.mutant:

    test: fake/gate probe_P02_*       a test as ctest names it, and the filter it is run with
    file: src/gate/gate.c             what is changed
    why: one line
    --- old
    exact text, one or more lines, which must occur exactly once
    --- new
    what stands there instead

Everything happens in copies of the tree under build/mutants, one for each mutant that is tried at the same time. First
the named tests must pass there as they are, and must have run at least one test under that filter. Then each mutant must
apply, compile, and make its test fail: by an assertion, a crash, or a hang (of 20 s, or less where that is ten times
what the healthy test took).

Exit: 0 all were killed; 1 one survived, does not apply or does not compile; 2 bad usage.
"""
import argparse
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

HANG_S = 20      # of a mutated test, at most: less where ten times what the healthy one took is less,
HASTE_S = 6      # but never less than this
HEALTHY_S = 120  # of an unmutated one
TRIES = 3        # a race that was let in does not show itself every time
OUTPUT_LINES = 30


class Bad(Exception):
    """What is wrong with a mutant, or with the tree it is tried on."""


class Mutant:
    def __init__(self, path):
        self.name = os.path.splitext(os.path.basename(path))[0]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        match = re.fullmatch(r"(.*?)^--- old\n(.*?)^--- new\n(.*)", text, re.S | re.M)
        if not match:
            raise Bad(f"{path}: wants a head, '--- old', text, '--- new', text")
        head = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", match.group(1), re.M))
        for key in ("test", "file", "why"):
            if not head.get(key):
                raise Bad(f"{path}: no '{key}:' line")
        self.test, *self.filter = shlex.split(head["test"])
        if not self.filter:
            raise Bad(f"{path}: 'test:' names no filter, so that nobody knows which test is meant to fail")
        self.file, self.why = head["file"], head["why"]
        self.old, self.new = match.group(2).removesuffix("\n"), match.group(3).removesuffix("\n")
        if not self.old.strip() or self.old == self.new:
            raise Bad(f"{path}: old text is empty, or the same as the new")

    def applied(self, text):
        count = text.count(self.old)
        if count != 1:
            raise Bad(f"its old text occurs {count} times in {self.file}, must be once")
        return text.replace(self.old, self.new)


def sync(root, tree):
    """Copies what git tracks or would track, touching only files whose content differs."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True)
    if listed.returncode == 0 and listed.stdout:
        names = {name for name in listed.stdout.decode().split("\0") if name}
    else:
        names = {os.path.relpath(os.path.join(folder, file), root) for folder, dirs, files in os.walk(root)
                 for file in files}
        names = {name for name in names if not name.startswith(("build/", ".deps/", ".git/"))}
    names = {name for name in names if os.path.isfile(os.path.join(root, name))}
    os.makedirs(tree, exist_ok=True)
    for folder, dirs, files in os.walk(tree):
        if folder == tree:
            dirs[:] = [d for d in dirs if d != "build"]
        for file in files:
            path = os.path.join(folder, file)
            if os.path.relpath(path, tree) not in names and not os.path.islink(path):
                os.remove(path)
    for name in sorted(names):
        source, target = os.path.join(root, name), os.path.join(tree, name)
        with open(source, "rb") as file:
            content = file.read()
        try:
            with open(target, "rb") as file:
                same = file.read() == content
        except OSError:
            same = False
        if not same:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(source, target)
    deps = os.path.join(root, ".deps")
    if os.path.isdir(deps) and not os.path.lexists(os.path.join(tree, ".deps")):
        os.symlink(os.path.realpath(deps), os.path.join(tree, ".deps"))


class Bench:
    """The copy of the tree, configured, with the tests that ctest knows in it."""

    def __init__(self, root, number, jobs):
        self.tree = os.path.join(root, "build", "mutants", "tree" if number == 0 else f"tree{number}")
        self.build = os.path.join(self.tree, "build", "dev")
        self.jobs = jobs
        sync(root, self.tree)
        self.command(["cmake", "--preset", "dev", "-DBATON_WERROR=OFF"], "cannot configure the copy")
        self.tests = self.listed()

    def listed(self):
        """name -> (command, properties); ctest leaves out the command of a program that is not built yet."""
        shown = self.command(["ctest", "--test-dir", self.build, "--show-only=json-v1"], "ctest lists no tests")
        return {test["name"]: (test.get("command"), {p["name"]: p["value"] for p in test.get("properties", [])})
                for test in json.loads(shown)["tests"]}

    def command(self, argv, what):
        done = subprocess.run(argv, cwd=self.tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
        if done.returncode:
            raise Bad(f"{what}:\n" + "\n".join(done.stdout.splitlines()[-OUTPUT_LINES:]))
        return done.stdout

    def make(self, name=None):
        """Builds what one test runs: its own program, or the baton command if it is a script. Without a name: all."""
        targets = []
        if name:
            command, _ = self.tests[name]
            inside = os.path.realpath(command[0]).startswith(os.path.realpath(self.build) + os.sep)
            targets = ["--target", os.path.basename(command[0]) if inside else "baton"]
        self.command(["cmake", "--build", self.build, "-j", str(self.jobs), *targets], "does not compile")
        if not name:
            self.tests = self.listed()

    def run(self, name, filters, limit_s):
        """(exit status or None for a hang, output)"""
        command, properties = self.tests[name]
        env = dict(os.environ)
        env.update(entry.split("=", 1) for entry in properties.get("ENVIRONMENT", []))
        child = subprocess.Popen([*command, *filters], cwd=properties.get("WORKING_DIRECTORY", self.build), env=env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors="replace", start_new_session=True)
        try:
            output, _ = child.communicate(timeout=limit_s)
            status = child.returncode
        except subprocess.TimeoutExpired:
            status = None
        try:
            os.killpg(child.pid, signal.SIGKILL)  # a crashed test may leave a server behind
        except ProcessLookupError:
            pass
        if status is None:
            output, _ = child.communicate()
        return status, output


def tests_passed(output):
    """How many tests a run says have passed: the words of cmocka and test/http/client.py, and unittest's."""
    passed = len(re.findall(r"^\[ +OK \]", output, re.M))
    unittest = sum(int(n) for n in re.findall(r"^Ran (\d+) tests? in", output, re.M))
    skipped = sum(int(n) for n in re.findall(r"^OK \(.*?skipped=(\d+)", output, re.M))
    return passed + unittest - skipped


def tail(output):
    return "\n".join("    " + line for line in output.splitlines()[-OUTPUT_LINES:])


def check_healthy(bench, test, filters):
    """Unmutated, the named test must pass; without that a failure would prove nothing. Returns the seconds it took."""
    if test not in bench.tests:
        raise Bad(f"ctest knows no test '{test}'")
    wanted = f"{test} {' '.join(filters)}"
    began = time.monotonic()
    status, output = bench.run(test, filters, HEALTHY_S)
    took = time.monotonic() - began
    if status is None:
        raise Bad(f"{wanted} hangs without any mutant")
    if status != 0:
        raise Bad(f"{wanted} fails without any mutant:\n{tail(output)}")
    if tests_passed(output) < 1:
        raise Bad(f"{wanted} runs no test:\n{tail(output)}")
    return took


class Run:
    """The benches side by side, each in a thread of its own, and what came of the mutants so far."""

    def __init__(self, root, mutants, jobs, benches):
        self.lock = threading.Lock()
        self.queue = list(reversed(mutants))  # under the lock; so is what follows
        self.faults = {}  # (test, filters) -> why a failure of it would prove nothing
        self.limits = {}  # (test, filters) -> seconds after which it hangs
        self.killed = self.survived = self.errors = 0
        self.benches = self.each(range(benches), lambda n: Bench(root, n, max(1, jobs // benches)))

    def each(self, things, call):
        """call(thing) of each in a thread of its own; their results, or the first fault."""
        results = {}

        def one(key, thing):
            try:
                results[key] = call(thing)
            except Bad as bad:
                results[key] = bad

        threads = [threading.Thread(target=one, args=pair) for pair in enumerate(things)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results.values():
            if isinstance(result, Bad):
                raise result
        return [results[key] for key in sorted(results)]

    def go(self):
        pairs = sorted({(m.test, tuple(m.filter)) for m in self.queue}, reverse=True)
        self.each(self.benches, lambda bench: bench.make())
        self.each(self.benches, lambda bench: self.check(bench, pairs))
        self.each(self.benches, self.work)

    def next(self, things):
        with self.lock:
            return things.pop() if things else None

    def check(self, bench, pairs):
        while (pair := self.next(pairs)) is not None:
            try:
                took = check_healthy(bench, *pair)
                with self.lock:
                    self.limits[pair] = min(HANG_S, max(HASTE_S, 10 * took))
            except Bad as bad:
                with self.lock:
                    self.faults[pair] = bad

    def work(self, bench):
        while (mutant := self.next(self.queue)) is not None:
            try:
                pair = mutant.test, tuple(mutant.filter)
                if pair in self.faults:
                    raise self.faults[pair]
                killed = attempt(bench, mutant, self.limits[pair])
                with self.lock:
                    self.killed += killed
                    self.survived += not killed
            except Bad as bad:
                print(f"ERROR     {mutant.name}: {bad}", flush=True)
                with self.lock:
                    self.errors += 1


def ending(status, limit_s):
    if status is None:
        return f"hangs for {limit_s:.0f} s"
    if status < 0:
        return "crashes, " + signal.Signals(-status).name
    return f"fails, exit {status}"


def attempt(bench, mutant, limit_s):
    """True if the mutant is killed."""
    path = os.path.join(bench.tree, mutant.file)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise Bad(f"cannot read {mutant.file}: {error.strerror}") from error
    mutated = mutant.applied(text)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(mutated)
        bench.make(mutant.test)
        for _ in range(TRIES):
            status, output = bench.run(mutant.test, mutant.filter, limit_s)
            if status != 0:
                break
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if status == 0:
        print(f"SURVIVED  {mutant.name}: {mutant.test} {' '.join(mutant.filter)} passes without it: {mutant.why}\n"
              + tail(output), flush=True)
        return False
    print(f"killed    {mutant.name:<40} {mutant.test} {ending(status, limit_s)}", flush=True)
    return True


def collect(root, names):
    found, errors = [], 0
    for path in sorted(glob.glob(os.path.join(root, "test", "mutants", "*.mutant"))):
        if names and not any(name in os.path.basename(path) for name in names):
            continue
        try:
            found.append(Mutant(path))
        except Bad as bad:
            print(f"ERROR     {bad}")
            errors += 1
    return sorted(found, key=lambda m: (m.test, m.file, m.name)), errors


def main():
    parser = argparse.ArgumentParser(description="takes protections away and demands that tests notice")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only mutants whose file name contains it")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="compile jobs")
    parser.add_argument("--benches", type=int, default=max(1, (os.cpu_count() or 2) // 2 + 1),
                        help="mutants tried at the same time; few at once for few mutants")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    args = parser.parse_args()
    root = os.path.abspath(args.root)
    mutants, errors = collect(root, args.names)
    if args.list:
        for m in mutants:
            print(f"{m.name:<44} {m.test} {' '.join(m.filter)}\n    {m.file}: {m.why}")
        return 1 if errors else 0
    if not mutants:
        print("mutants: none of that name" if args.names else "mutants: there are none in test/mutants")
        return 2 if args.names else 1
    began = time.monotonic()
    try:
        run = Run(root, mutants, args.jobs, max(1, min(args.benches, len(mutants) // 8)))
        run.errors = errors
        run.go()
    except Bad as bad:
        print(f"ERROR     {bad}")
        return 1
    print(f"mutants: {run.killed} killed, {run.survived} survived, {run.errors} in error, "
          f"{time.monotonic() - began:.0f} s")
    return 1 if run.survived or run.errors else 0


if __name__ == "__main__":
    sys.exit(main())
