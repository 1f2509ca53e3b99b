#!/usr/bin/env python3
"""Shows that the mutant runner can say no: a tiny project in which one mutant is killed, one survives, one does not
apply, one does not compile, one crashes, and filters that run nothing or fail anyway."""
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "mutants.py")

PROJECT = {
    "CMakePresets.json": """
        {"version": 4, "configurePresets": [
            {"name": "dev", "generator": "Ninja", "binaryDir": "${sourceDir}/build/dev"}]}
        """,
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.25)
        project(sample C)
        set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
        enable_testing()
        add_executable(test_sample sample.c)
        add_test(NAME fake/sample COMMAND test_sample)
        set_tests_properties(fake/sample PROPERTIES ENVIRONMENT "EXPECTED=3")
        """,
    "sample.c": """
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        static int guarded = 1, unguarded = 1;
        int main(int argc, char **argv) {
            int run = argc > 1 && strcmp(argv[1], "nothing") != 0;
            if (!guarded || atoi(getenv("EXPECTED")) != 3 || (argc > 1 && strcmp(argv[1], "broken") == 0))
                return 1;
            if (run)
                puts("[       OK ] probe");
            return unguarded - unguarded;
        }
        """,
}


def mutant(test, old, new, file="sample.c"):
    return f"test: {test}\nfile: {file}\nwhy: a sample\n--- old\n{old}\n--- new\n{new}\n"


KILLED = mutant("fake/sample probe", "guarded = 1, ", "guarded = 0, ")


class Runner(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="mutants-selftest-")
        os.makedirs(os.path.join(cls.root, "test", "mutants"))
        for name, text in PROJECT.items():
            with open(os.path.join(cls.root, name), "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(text))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root)

    def run_with(self, **mutants):
        folder = os.path.join(self.root, "test", "mutants")
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        for name, text in mutants.items():
            with open(os.path.join(folder, name + ".mutant"), "w", encoding="utf-8") as file:
                file.write(text)
        done = subprocess.run([sys.executable, RUNNER, "--root", self.root], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_a_killed_mutant_is_a_pass(self):
        status, output = self.run_with(a=KILLED)
        self.assertEqual(status, 0, output)
        self.assertIn("1 killed, 0 survived, 0 in error", output)

    def test_a_surviving_mutant_is_a_failure_and_the_others_still_run(self):
        survivor = mutant("fake/sample probe", "unguarded = 1", "unguarded = 2")
        status, output = self.run_with(a=survivor, b=KILLED)
        self.assertEqual(status, 1, output)
        self.assertIn("1 killed, 1 survived, 0 in error", output)

    def test_a_mutant_that_does_not_apply_or_compile_is_an_error(self):
        status, output = self.run_with(absent=mutant("fake/sample probe", "no such text", "x"),
                                       twice=mutant("fake/sample probe", "#include", "#include "),
                                       syntax=mutant("fake/sample probe", "guarded = 1, ", "guarded = , "),
                                       b=KILLED)
        self.assertEqual(status, 1, output)
        self.assertIn("1 killed, 0 survived, 3 in error", output)
        self.assertIn("occurs 0 times", output)
        self.assertIn("does not compile", output)

    def test_a_malformed_mutant_is_an_error(self):
        status, output = self.run_with(a="test: fake/sample probe\nfile: sample.c\n", b=KILLED)
        self.assertEqual(status, 1, output)
        self.assertIn("1 in error", output)

    def test_a_crash_is_a_kill(self):
        status, output = self.run_with(a=mutant("fake/sample probe", "int run = ", "abort(); int run = "))
        self.assertEqual(status, 0, output)
        self.assertIn("SIGABRT", output)

    def test_a_filter_that_runs_nothing_proves_nothing(self):
        status, output = self.run_with(a=mutant("fake/sample nothing", "guarded = 1, ", "guarded = 0, "))
        self.assertEqual(status, 1, output)
        self.assertIn("runs no test", output)

    def test_a_test_that_fails_anyway_proves_nothing(self):
        status, output = self.run_with(a=mutant("fake/sample broken", "guarded = 1, ", "guarded = 0, "))
        self.assertEqual(status, 1, output)
        self.assertIn("fails without any mutant", output)

    def test_no_mutants_at_all_is_a_failure(self):
        self.assertEqual(self.run_with()[0], 1)


if __name__ == "__main__":
    unittest.main()
