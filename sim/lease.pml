/* The lease's thread shell (src/lease/lease.c, pool.c) as a model: one slot, the word of free slots with its LOCKED bit,
 * the lock, the queue, a futex word per waiter, deadlines that pass at any moment, cancels that come at any moment.
 *
 * Each step is one atomic instruction of the program or one piece of bookkeeping under the lock; the lock itself is taken
 * as right. Asserted: one holder at a time; nobody is granted past a waiter; those who queue are served in the order of
 * their coming; a cancel reaches whom it names and nobody else. An end in which somebody still sleeps (a lost wake-up, a
 * lost cancel, a lost slot) is an invalid end state. Orders of memory are not modelled: every step is seen at once.
 *
 * -DN=3 callers, -DROUNDS=1 each, -DTIMEOUTS=1: any number of them has a deadline (-DDEADLINES=1: so many),
 * -DCANCELS=1; -DFOREVER (with 2): the first caller does not leave until it is cancelled, and that comes only after the
 * other one is through. -DBREAK_n takes one protection away: then an error must be found. */
#ifndef N
#define N 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#define AGAIN 0
#define OK 1
#define TIMEOUT 2
#define CANCELLED 3
#define NOBODY N

bool locked, free_slot = true; /* pool->free: the LOCKED bit, and the bit of the one slot */
bool lock, used;               /* pool->lock; the gate's idea of the slot, true while `locked` */
byte queue[N], queued;
byte order[N], asked, served; /* who came when */
byte verdict[N];
bool asleep[N], meant[N], over[N];
bool late[N]; /* has a deadline: once asleep it may pass at any moment */
byte id = NOBODY; /* slot->id */
bool flag;        /* slot->cancelled */
byte inside;

inline lock_pool() {
    atomic { !lock -> lock = true }
    d_step { if :: !locked -> locked = true; used = !free_slot :: else fi }
}

inline unlock_pool() {
    d_step {
#ifdef BREAK_1
        if :: true -> free_slot = !used; locked = false fi;
#else
        if :: queued == 0 -> free_slot = !used; locked = false :: else fi;
#endif
        lock = false
    }
}

/* bt_gate_withdraw, or the first of the queue */
inline take_out(who) {
    d_step {
        k = 0;
        do
        :: k < queued && queue[k] != who -> k++
        :: else -> break
        od;
        assert(k < queued);
        do
        :: k + 1 < queued -> queue[k] = queue[k + 1]; k++
        :: else -> break
        od;
        queued--; queue[queued] = 0; k = 0
    }
}

/* d_step: is it in the queue? */
inline find(who) {
    d_step {
        k = 0; found = false;
        do
        :: k < queued && queue[k] != who -> k++
        :: else -> break
        od;
        found = (k < queued); k = 0
    }
}

inline wake(who) {
    asleep[who] = false
}

/* bt_pool_expire: everybody whose deadline has passed, one at a time; another one's may be still to come */
inline expire() {
    do
    :: true ->
        lock_pool();
        d_step {
            k = 0;
            do
            :: k < queued && !late[queue[k]] -> k++
            :: else -> break
            od;
            next = (k < queued -> queue[k] : NOBODY); k = 0
        }
        if
        :: next == NOBODY || next != me -> unlock_pool(); next = NOBODY; break
        :: next != NOBODY -> take_out(next); verdict[next] = TIMEOUT; unlock_pool(); d_step { wake(next); next = NOBODY }
        fi
    od
}

inline acquire() {
    got = false;
    if
    :: atomic { !locked && free_slot -> free_slot = false; assert(queued == 0) }
       flag = false; id = me; got = true
    :: atomic { locked || !free_slot -> skip }
       lock_pool();
       if
       :: !used -> assert(queued == 0); used = true; flag = false; id = me; unlock_pool(); got = true
       :: else ->
           d_step { verdict[me] = AGAIN; queue[queued] = me; queued++; asked++; order[me] = asked }
           unlock_pool();
           do
           :: verdict[me] != AGAIN -> break
           :: else ->
               atomic { if :: verdict[me] == AGAIN -> asleep[me] = true :: else fi } /* futex wait */
               if
               :: !asleep[me]
               :: late[me] && asleep[me] -> asleep[me] = false; expire()
               fi
           od;
           got = (verdict[me] == OK)
       fi
    fi
}

inline release() {
    id = NOBODY;
    if
    :: atomic { !locked -> free_slot = true }
#ifdef BREAK_2
    :: atomic { locked -> free_slot = true } /* gives back without looking at the bit */
#else
    :: atomic { locked -> skip }
       lock_pool();
       if
       :: queued == 0 -> used = false; unlock_pool()
       :: else ->
           next = queue[0];
           take_out(next);
           d_step { assert(order[next] > served); served = order[next] }
           flag = false; id = next;
           verdict[next] = OK;
           unlock_pool();
           d_step { wake(next); next = NOBODY }
       fi
#endif
    fi
}

proctype caller(byte me) {
    byte k, next = NOBODY, round;
    bool got;
    do
    :: round < ROUNDS ->
        round++;
        acquire();
        if
        :: got ->
            d_step { inside++; assert(inside == 1) }
#ifdef FOREVER
            if :: me == 0 -> flag :: else fi; /* runs until it is told to stop */
#endif
            assert(!flag || meant[me]);
            inside--;
            release()
        :: else -> assert(verdict[me] == TIMEOUT && late[me] || verdict[me] == CANCELLED && meant[me])
        fi;
        got = false
    :: else -> break
    od;
    atomic { over[me] = true; verdict[me] = AGAIN; order[me] = 0; late[me] = false; round = 0 } /* fewer states */
}

/* bt_pool_cancel */
inline cancel(who) {
    meant[who] = true;
    lock_pool();
    find(who);
    if
    :: found ->
#ifdef BREAK_3
        unlock_pool(); wake(who) /* a wake without a verdict */
#else
        take_out(who); verdict[who] = CANCELLED; unlock_pool(); wake(who)
#endif
    :: else ->
        if :: id == who -> flag = true :: else fi;
        unlock_pool()
    fi
}

proctype canceller() {
    byte k, who;
    bool found;
#ifdef FOREVER
    /* one that waits behind a holder that never leaves, then that holder */
    id == 0 && (queued > 0 || over[1]);
    if
    :: !over[1] -> cancel(1); over[1]
    :: else
    fi;
    cancel(0)
#else
    if :: true -> who = 0 :: N > 1 -> who = N - 1 fi;
    cancel(who)
#endif
}

init {
    byte i, deadlines;
    atomic {
        /* the callers are alike: it matters how many have a deadline, and whether the one cancelled does */
#ifdef DEADLINES
        deadlines = DEADLINES;
#else
        select (deadlines : 0 .. TIMEOUTS * N);
#endif
        do
        :: i < N ->
            late[i] = (i < deadlines);
            run caller(i); i++
        :: else -> break
        od;
        if :: CANCELS -> run canceller() :: else fi
    }
}
