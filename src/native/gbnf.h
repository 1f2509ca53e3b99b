/* What can be known of a grammar before libllama sees it. Pure. */
#ifndef BT_GBNF_H
#define BT_GBNF_H

#include "base/base.h"

enum { BT_GBNF_BYTES_MAX = 256 << 10, BT_GBNF_DEPTH_MAX = 64, BT_GBNF_SIZE_MAX = 100000 };

/* BATON_INVALID with the line and what is wrong there. Grammars come from strangers, and libllama's parser answers them
 * with recursion as deep as their brackets, repetitions written out in full, and the whole text on stderr. */
baton_status bt_gbnf_check(const char *text, baton_error *err);

#endif
