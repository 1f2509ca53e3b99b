/* Enters, and does not look whether it is in.
 *
 * expect: calling function 'feed' requires holding guard 's->guard' exclusively
 * expect: releasing guard 's->guard' that was not held */
#include "baton/annotate.h"
#include "baton/guard.h"

struct session {
    baton_guard guard;
    int tokens;
};
void feed(struct session *s) BATON_REQUIRES(s->guard);
int f(struct session *s);

int f(struct session *s) {
    baton_guard_enter(&s->guard, 1);
    feed(s);                                  /* here */
    return baton_guard_leave(&s->guard) != 0; /* here */
}
