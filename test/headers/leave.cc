// The other half of enter.c, in C++: the same word, the same thread id.
#include "baton/guard.h"
#include "baton/baton.h"

extern "C" baton_guard_word leave_in_the_other_file(baton_guard *g);

extern "C" baton_guard_word leave_in_the_other_file(baton_guard *g) {
    baton_guard second = BATON_GUARD_INIT;
    if (baton_guard_enter(&second, 1) != 0 || baton_guard_leave(&second) != 0)
        return BATON_GUARD_NOBODY;
    if (baton_guard_enter(g, 1) == 0)
        return BATON_GUARD_NOBODY;
    return baton_guard_leave(g);
}
