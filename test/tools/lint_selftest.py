#!/usr/bin/env python3
"""Shows that each rule of tools/lint.py fires: a tree with one fault at a time, and the same tree without it."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

LINT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "lint.py")

CLEAN = '''/* A sample. State: none. */
#include "base/base.h"

int bt_sample(int n) { return n; }

struct sample {
    int n;
};

static const int table[] = {
    1,
};

static int helper(int n,
                  int m) {
    return bt_sample(n) + m; /* strcpy( in a comment and "system(" in a string are no calls */
}
'''
PUBLIC = '''/* Public. */
/* What it does. Threads: any. Blocks: never. Since: 0.1.0. */
BATON_API int baton_sample(int n);
'''


def long_function(lines):
    return "static int long_one(void) {\n" + "    work();\n" * (lines - 2) + "}\n"


class Lint(unittest.TestCase):
    def findings(self, path, text, mode=0o644):
        root = tempfile.mkdtemp(prefix="lint-selftest-")
        try:
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(full, mode)
            done = subprocess.run([sys.executable, LINT, "--root", root], capture_output=True, text=True)
            rules = [line.split("[")[1].split("]")[0] for line in done.stdout.splitlines() if ": [" in line]
            self.assertEqual(done.returncode, 1 if rules else 0, done.stdout + done.stderr)
            return rules
        finally:
            shutil.rmtree(root)

    def fires(self, rule, path, text, mode=0o644):
        self.assertEqual(self.findings(path, text, mode), [rule])

    def clean(self, path, text, mode=0o644):
        self.assertEqual(self.findings(path, text, mode), [])

    def test_clean_sources_have_no_findings(self):
        self.clean("src/gate/gate.c", CLEAN)
        self.clean("include/baton/baton.h", PUBLIC)
        self.clean("tools/x.py", "#!/usr/bin/env python3\nprint(1)\n", 0o755)

    def test_function_length(self):
        self.clean("src/gate/gate.c", CLEAN + long_function(70))
        self.fires("function-length", "src/gate/gate.c", CLEAN + long_function(71))
        self.fires("function-length", "tools/x.py", "def f():\n" + "    g()\n" * 70)

    def test_file_length(self):
        body = "/* Sample. */\n" + "int bt_x;\n" * 599
        self.clean("src/gate/gate.c", body)
        self.fires("file-length", "src/gate/gate.c", body + "int bt_y;\n")

    def test_header_comment(self):
        self.fires("header-comment", "src/gate/gate.c", CLEAN.split("\n", 1)[1])

    def test_text(self):
        self.fires("tab", "src/gate/gate.c", CLEAN + "static int\tx;\n")
        self.fires("whitespace", "src/gate/gate.c", CLEAN + "static int x; \n")
        self.fires("newline", "README.md", "text")
        self.fires("package-host", "README.md", "see https://" + "pypi" + ".org/simple\n")

    def test_what_a_merge_leaves(self):
        for marker in ("<<<<<<< HEAD", ">>>>>>> main", "|||||||"):
            self.fires("conflict", "docs/x.md", f"text\n{marker}\n")
        self.clean("docs/x.md", "Title\n=======\n\n> > > > > > > quoted\n")

    def test_what_does_not_belong(self):
        for path in ("saved-1.state", "src/gate/gate.o", "src/gate/gate.c.orig", "docs/x.md~", "Testing/Temporary/LastTest.txt"):
            self.fires("stray", path, "text\n")
        self.clean("fuzz/corpus/line/one", "no newline, \t and trailing  \n x ")

    def test_banned_calls(self):
        for call in ("strcpy(a, b)", "sprintf(a, b)", "system(a)", "atoi(a)", "signal(a, b)", "fork()", "usleep(1)"):
            self.fires("banned-call", "src/gate/gate.c", CLEAN + f"static void f(void) {{\n    {call};\n}}\n")
        self.clean("test/fake/x.c", CLEAN + "static void f(void) {\n    fork();\n}\n")
        self.clean("src/gate/gate.c", CLEAN + "static void f(void) {\n    bt_signal(1), p->signal(1);\n}\n")

    def test_arrows_go_only_to_the_right(self):
        for path, header in (("src/base/log.c", "gate/gate.h"), ("src/gate/gate.c", "lease/lease.h"),
                             ("src/native/fake.c", "owner/owner.h"), ("src/owner/loop.c", "ipc/front.h"),
                             ("src/owner/loop.c", "native/llama_internal.h"), ("src/serve/http.c", "native/fake.h"),
                             ("src/serve/http.c", "native/llama_internal.h"), ("src/cli/ask.c", "owner/loop.h"),
                             ("include/baton/guard.h", "base/base.h")):
            self.fires("arrow", path, f'/* A sample. */\n#include "{header}"\n')
        self.fires("arrow", "src/misc/x.c", "/* A sample. */\n")
        for path, header in (("src/lease/lease.c", "gate/gate.h"), ("src/owner/loop.c", "wire/frame.h"),
                             ("src/owner/loop.c", "native/native.h"), ("src/owner/loop.c", "base/list.h"),
                             ("src/cli/demo.c", "native/race.h"), ("src/cli/demo.c", "ipc/front.h")):
            self.clean(path, f'/* A sample. */\n#include "{header}"\n')

    def test_native_symbols_and_headers_stay_in_native(self):
        for path, line in (("src/owner/loop.c", "int x = llama_decode(c, b);"), ("src/serve/http.c", "#include <llama.h>"),
                           ("src/cli/demo.c", '#include "ggml-cpu.h"'), ("test/real/x.c", "int x = GGML_TYPE_F32;"),
                           ("include/baton/baton.h", "struct llama_model *m;"), ("test/x.cc", "int x = llama_decode(c, b);"),
                           ("test/x.def", "X(llama_decode)")):
            self.fires("native", path, f"/* A sample. */\n{line}\n")
        for path, line in (("src/native/llama_context.c", "#include <llama.h>\nint x = llama_decode(c, b);"),
                           ("bench/raw.c", "#include <llama.h>"), ("include/baton/llama.h", "struct llama_context *c;"),
                           ("src/api/llama.c", '#include "baton/llama.h"\nstruct llama_context *c;'),
                           ("src/owner/loop.c", '/* llama_decode */ char *x = "llama_decode"; // llama_free\n'
                                                "int y = bt_llama_open;")):
            self.clean(path, f"/* A sample. */\n{line}\n")

    def test_symbol_prefix(self):
        self.fires("symbol-prefix", "src/gate/gate.c", CLEAN + "int gate_open(void) {\n    return 1;\n}\n")
        self.clean("src/gate/gate.c", CLEAN + "static int gate_open(void) {\n    return 1;\n}\n")

    def test_public_comments(self):
        for field in ("Threads: any. ", "Blocks: never. ", "Since: 0.1.0. "):
            self.fires("public-comment", "include/baton/baton.h", PUBLIC.replace(field, ""))
        self.assertEqual(self.findings("include/baton/baton.h", PUBLIC + "BATON_API int baton_bare(void);\n"),
                         ["public-comment"] * 3)

    def test_scripts(self):
        self.fires("script", "tools/x.py", "#!/usr/bin/env python3\nprint(1)\n", 0o644)
        self.fires("script", "tools/x", "echo no shebang\n", 0o755)


if __name__ == "__main__":
    unittest.main()
