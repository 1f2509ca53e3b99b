/* Wrong, and not seen: what was read inside is looked at outside. */
#include "baton/annotate.h"
#include "baton/guard.h"

struct session {
    baton_guard guard;
    int tokens;
};
const int *logits(struct session *s) BATON_REQUIRES(s->guard);
int f(struct session *s);

int f(struct session *s) {
    const int *row;
    if (baton_guard_enter(&s->guard, 1))
        return 1;
    row = logits(s);
    baton_guard_leave(&s->guard);
    return row[0];
}
