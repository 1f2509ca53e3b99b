/* Enters one session and uses another one.
 *
 * expect: calling function 'feed' requires holding guard 'yours->guard' exclusively */
#include "baton/annotate.h"
#include "baton/guard.h"

struct session {
    baton_guard guard;
    int tokens;
};
void feed(struct session *s) BATON_REQUIRES(s->guard);
int f(struct session *mine, struct session *yours);

int f(struct session *mine, struct session *yours) {
    if (baton_guard_enter(&mine->guard, 1))
        return 1;
    feed(yours); /* here */
    baton_guard_leave(&mine->guard);
    return 0;
}
