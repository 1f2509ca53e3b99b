/* Wrong, and not seen: through a pointer to the function. */
#include "baton/annotate.h"
#include "baton/guard.h"

void feed(baton_guard *guard) BATON_REQUIRES(guard);
void f(baton_guard *guard);

void f(baton_guard *guard) {
    void (*const by_pointer)(baton_guard *) = feed;
    by_pointer(guard);
}
