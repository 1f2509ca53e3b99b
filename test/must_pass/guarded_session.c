/* A guard beside a context, as baton/guard.h shows it, and the half of a struct that a lock guards. */
#include "baton/annotate.h"
#include "baton/guard.h"

struct session {
    baton_guard guard;
    int tokens;
};
int *tokens(struct session *s) BATON_REQUIRES(s->guard);
int f(struct session *s, int (*native)(void));

int *tokens(struct session *s) {
    return &s->tokens;
}

int f(struct session *s, int (*native)(void)) {
    char text[BATON_GUARD_TEXT_MAX];
    int rc;
    baton_guard_word who = baton_guard_enter(&s->guard, BATON_GUARD_IDLE);
    if (who) {
        baton_guard_explain(who, "the session", NULL, text, sizeof text);
        return -1;
    }
    baton_guard_mark(&s->guard, 7);
    rc = native();
    baton_guard_mark(&s->guard, BATON_GUARD_IDLE);
    *tokens(s) += rc;
    baton_guard_leave(&s->guard);
    return rc;
}
