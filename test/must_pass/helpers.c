/* Functions of a program's own that acquire, use and release for it. */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
struct job {
    struct bt_pool *pool;
    struct bt_lease lease;
};
int job_begin(struct job *job) BATON_TRY_ACQUIRE(0, job->lease);
void job_step(struct job *job) BATON_REQUIRES(job->lease);
void job_end(struct job *job) BATON_RELEASE(job->lease);
int f(struct job *job, int n);

int job_begin(struct job *job) {
    return bt_lease_acquire(job->pool, NULL, &job->lease, NULL);
}

void job_step(struct job *job) {
    use(&job->lease);
}

void job_end(struct job *job) {
    bt_lease_release(&job->lease, BT_KEEP, NULL);
}

int f(struct job *job, int n) {
    if (job_begin(job))
        return 1;
    for (int i = 0; i < n; i++)
        job_step(job);
    job_end(job);
    return 0;
}
