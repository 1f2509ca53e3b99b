/* Reads what belongs inside after it has left.
 *
 * expect: calling function 'feed' requires holding guard 's->guard' exclusively */
#include "baton/annotate.h"
#include "baton/guard.h"

struct session {
    baton_guard guard;
    int tokens;
};
void feed(struct session *s) BATON_REQUIRES(s->guard);
int f(struct session *s);

int f(struct session *s) {
    baton_guard_word who = baton_guard_enter(&s->guard, 1);
    if (who)
        return 1;
    baton_guard_leave(&s->guard);
    feed(s); /* here */
    return 0;
}
