/* guard.h on somebody else's handle: an SQLite connection opened with SQLITE_OPEN_NOMUTEX, which SQLite allows on one
 * thread at a time and does not check. No libbaton: one header.
 *
 * Four threads add rows. Each enters the guard around the whole transaction (reset, bind and step of a shared
 * statement, then the read of the connection's last row id: a lock around each call would let another thread's row id
 * in). Who is refused is told who is in, in which operation, since when; this program then lets the others run and
 * tries again.
 *
 * State: struct store, used by whoever is inside its guard; the counters of each thread are its own. */
#include <baton/guard.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdbool.h>

#define THREADS 4
#define ROWS 5000

enum { OP_INSERT = 1, OP_COUNT };
static const char *const op_names[] = {"idle", "insert", "count"};

struct store {
    baton_guard guard;
    sqlite3 *db;          /* only inside */
    sqlite3_stmt *insert; /* only inside */
};

struct writer {
    struct store *store;
    pthread_t thread;
    int number;
    unsigned refused;
    bool failed;
    char first_refusal[BATON_GUARD_TEXT_MAX];
};

/* The id of the new row must be this row's own: read before anyone else may insert. */
static bool insert(struct store *s, int writer, int row) {
    sqlite3_int64 want = (sqlite3_int64)writer * ROWS + row + 1;
    sqlite3_reset(s->insert);
    sqlite3_bind_int64(s->insert, 1, want);
    return sqlite3_step(s->insert) == SQLITE_DONE && sqlite3_last_insert_rowid(s->db) == want;
}

static void *write_rows(void *arg) {
    struct writer *w = arg;
    for (int row = 0; row < ROWS;) {
        baton_guard_word who = baton_guard_enter(&w->store->guard, OP_INSERT);
        if (who) {
            if (w->refused++ == 0)
                baton_guard_explain(who, "the SQLite connection", op_names[baton_guard_op(who)], w->first_refusal,
                                    sizeof w->first_refusal);
            sched_yield();
            continue;
        }
        w->failed |= !insert(w->store, w->number, row++);
        baton_guard_leave(&w->store->guard);
    }
    return NULL;
}

static int count_rows(struct store *s) {
    sqlite3_stmt *count = NULL;
    int rows = -1;
    if (baton_guard_enter(&s->guard, OP_COUNT))
        return -1;
    if (sqlite3_prepare_v2(s->db, "select count(*) from t", -1, &count, NULL) == SQLITE_OK &&
        sqlite3_step(count) == SQLITE_ROW)
        rows = sqlite3_column_int(count, 0);
    sqlite3_finalize(count);
    baton_guard_leave(&s->guard);
    return rows;
}

int main(void) {
    struct store store = {BATON_GUARD_INIT, NULL, NULL};
    struct writer writers[THREADS];
    unsigned refused = 0;
    int failed = 0;
    if (sqlite3_open_v2(":memory:", &store.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) ||
        sqlite3_exec(store.db, "create table t (id integer primary key)", NULL, NULL, NULL) ||
        sqlite3_prepare_v2(store.db, "insert into t values (?)", -1, &store.insert, NULL)) {
        fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(store.db));
        return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.store = &store, .number = i};
        if (pthread_create(&writers[i].thread, NULL, write_rows, &writers[i]))
            return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(writers[i].thread, NULL);
        if (refused == 0 && writers[i].refused)
            fprintf(stderr, "a refusal: %s\n", writers[i].first_refusal);
        refused += writers[i].refused;
        failed += writers[i].failed;
    }
    int rows = count_rows(&store);
    fprintf(stderr, "%u entries were refused and tried again\n", refused);
    printf("%d rows, %d threads with a wrong row id\n", rows, failed);
    sqlite3_finalize(store.insert);
    sqlite3_close(store.db);
    return rows != THREADS * ROWS || failed;
}
