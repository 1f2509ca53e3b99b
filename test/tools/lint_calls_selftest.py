#!/usr/bin/env python3
"""tools/lint_calls.py fails on what it is for. Usage: lint_calls_selftest.py"""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import lint_calls  # noqa: E402
import native_header  # noqa: E402

HEADER = """
#define LLAMA_API __attribute__((visibility("default")))
struct llama_context;
// LLAMA_API int llama_in_a_comment(void);
LLAMA_API int32_t llama_decode(
        struct llama_context * ctx, /* a, b */
          struct llama_batch   batch);
DEPRECATED(LLAMA_API void llama_old(struct llama_context * ctx), "use (x), not ; this");
LLAMA_API DEPRECATED(size_t llama_older(struct llama_context * ctx,
        uint8_t * dst),
    "in two " "pieces");
LLAMA_API const char * llama_version(void);
"""
WHISPER_HEADER = """
    WHISPER_DEPRECATED(
        WHISPER_API struct whisper_context * whisper_init(const char * path),
        "use (x) instead"
    );
    struct whisper_timings { float sample_ms; };
    WHISPER_API struct whisper_timings * whisper_get_timings(struct whisper_context * ctx);
    WHISPER_API int whisper_full_with_state(struct whisper_context * ctx, struct whisper_state * state,
        struct whisper_full_params params);
    int whisper_not_exported(struct whisper_context * ctx);
"""
WHISPER_TABLE = """/* pinned: whisper.h 1.0 */
BT_CALL(whisper_init, CREATE, NONE, -1)
BT_CALL(whisper_get_timings, READ, WHISPER, 0)
BT_CALL(whisper_full_with_state, EXCLUSIVE, STATE, 1)
BT_ALSO(whisper_full_with_state, SHARED, WHISPER, 0)
"""
TABLE = """/* pinned: llama.h 1.0 */
BT_CALL(llama_decode, EXCLUSIVE, CONTEXT, 0)
BT_ALSO(llama_decode, READ, BATCH, 1)
BT_CALL(llama_old, EXCLUSIVE, CONTEXT, 0)
BT_CALL(llama_older, EXCLUSIVE, CONTEXT, 0)
BT_CALL(llama_version, PURE, NONE, -1)
"""


class Calls(unittest.TestCase):
    def errors(self, header=HEADER, table=TABLE, version="1.0"):
        return lint_calls.check(header, table, version)

    def test_the_header_is_read_whole(self):
        found = native_header.functions(HEADER)
        self.assertEqual([f.name for f in found], ["llama_decode", "llama_old", "llama_older", "llama_version"])
        self.assertEqual([f.deprecated for f in found], [False, True, True, False])
        self.assertEqual([len(f.args) for f in found], [2, 1, 2, 0])

    def test_a_complete_table_passes(self):
        self.assertEqual(self.errors(), ([], []))

    def test_another_library_s_header_is_held_to_its_table(self):
        def errors(table):
            return lint_calls.check(WHISPER_HEADER, table, "1.0", "WHISPER_API")
        self.assertEqual(errors(WHISPER_TABLE), ([], []))
        self.assertTrue(errors(WHISPER_TABLE.replace("STATE, 1", "STATE, 0"))[0])
        self.assertTrue(errors(WHISPER_TABLE + "BT_CALL(whisper_not_exported, READ, WHISPER, 0)")[0])
        self.assertTrue(errors(WHISPER_TABLE.replace("BT_ALSO(whisper_full_with_state, SHARED, WHISPER, 0)", ""))[0])

    def test_an_unclassified_function_fails_on_the_pinned_version_and_warns_on_another(self):
        more = HEADER + "LLAMA_API void llama_new(struct llama_context * ctx);"
        self.assertEqual(len(self.errors(header=more)[0]), 1)
        errors, warnings = self.errors(header=more, version="1.1")
        self.assertEqual((errors, len(warnings)), ([], 1))
        self.assertIn("EXCLUSIVE", warnings[0])

    def test_a_name_that_the_header_lacks_fails(self):
        self.assertEqual(len(self.errors(table=TABLE + "BT_CALL(llama_gone, PURE, NONE, -1)")[0]), 1)

    def test_a_wrong_argument_or_a_forgotten_object_fails(self):
        self.assertTrue(self.errors(table=TABLE.replace("llama_old, EXCLUSIVE, CONTEXT, 0",
                                                        "llama_old, PURE, NONE, -1"))[0])
        self.assertTrue(self.errors(table=TABLE.replace("llama_older, EXCLUSIVE, CONTEXT, 0",
                                                        "llama_older, EXCLUSIVE, CONTEXT, 1"))[0])
        self.assertTrue(self.errors(table=TABLE.replace("BT_ALSO(llama_decode, READ, BATCH, 1)\n", ""))[0])

    def test_an_unknown_effect_a_double_and_an_empty_header_fail(self):
        self.assertTrue(self.errors(table=TABLE.replace("PURE", "PUER"))[0])
        self.assertTrue(self.errors(table=TABLE + "BT_CALL(llama_old, EXCLUSIVE, CONTEXT, 0)")[0])
        self.assertTrue(self.errors(header="", table="/* pinned: llama.h 1.0 */")[0])


if __name__ == "__main__":
    unittest.main(verbosity=1)
