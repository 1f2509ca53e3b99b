/* Enters in every turn of a loop and leaves once.
 *
 * expect: expecting (guard|mutex) 'guard' to be held at start of each loop */
#include "baton/annotate.h"
#include "baton/guard.h"

int f(baton_guard *guard, int n);

int f(baton_guard *guard, int n) {
    for (int i = 0; i < n; i++) /* here */
        if (baton_guard_enter(guard, 1))
            return 1;
    return 0;
}
