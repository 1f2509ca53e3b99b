/* baton/guard.h in a program of strict ISO C and no other header of baton's: enters here, leaves in leave.cc. Only the
 * compilers and flags of test/headers/check build this. */
#include "baton/baton.h"
#include "baton/guard.h"

#include "baton/guard.h" /* again: harmless; apart, or clang-format takes it out */

#include <string.h>

baton_guard_word leave_in_the_other_file(baton_guard *g);

static baton_guard guard = BATON_GUARD_INIT;

int main(void) {
    char text[BATON_GUARD_TEXT_MAX], little[24];
    baton_guard_word held;
    if (baton_guard_enter(&guard, 5) != 0 || baton_guard_mark(&guard, 6) != 0)
        return 1;
    held = baton_guard_read(&guard);
    if (baton_guard_op(held) != 6 || baton_guard_tid(held) != baton_guard_self() || baton_guard_ms(held) > 60000)
        return 2;
    if (baton_guard_explain(held, "x", NULL, text, sizeof text) < 0 || !strstr(text, "operation 6"))
        return 3;
    if (baton_guard_explain(held, "x", NULL, little, sizeof little) < 24 || strlen(little) != 23)
        return 7;
    if (baton_guard_take(&guard, held, BATON_GUARD_IDLE) != 0 || leave_in_the_other_file(&guard) != 0)
        return 4;
    if (baton_guard_explain_leave(baton_guard_leave(&guard), "x", text, sizeof text) < 0 || !strstr(text, "nobody"))
        return 5;
    if (baton_guard_explain_leave(0, "x", little, sizeof little) < 24 || strlen(little) != 23)
        return 8;
    return baton_guard_read(&guard) == 0 && baton_status_family_of(BATON_OK) == BATON_FAMILY_OUTCOME ? 0 : 6;
}

/* baton.h's functions are the library's; this program has none. */
baton_status_family baton_status_family_of(baton_status status) {
    return status < 32 ? BATON_FAMILY_OUTCOME : BATON_FAMILY_WORLD;
}
