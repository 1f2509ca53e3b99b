/* Waits for somebody else while it keeps the context to itself.
 *
 * expect: cannot call function 'wait_for_the_user' while guard 's->guard' is held */
#include "baton/annotate.h"
#include "baton/guard.h"

struct session {
    baton_guard guard;
    int tokens;
};
void wait_for_the_user(struct session *s) BATON_EXCLUDES(s->guard);
int f(struct session *s);

int f(struct session *s) {
    if (baton_guard_enter(&s->guard, 1))
        return 1;
    wait_for_the_user(s); /* here */
    baton_guard_leave(&s->guard);
    return 0;
}
