/* Contexts on a device of which nothing is promised for two at once: all of them in the process take turns, whatever
 * model and owner they have. The fake finds two calls on such a device by itself. */
#include "api_bodies.h"

#include <sched.h>
#include <semaphore.h>

#include "baton/guard.h"
#include "native/device.h"
#include "native/fake.h"

static int setup(void **state) {
    (void)state;
    bt_fake_stats_reset();
    return 0;
}
static int teardown(void **state) {
    struct bt_fake_stats s;
    (void)state;
    bt_fake_set_hook(NULL, NULL);
    bt_fake_stats(&s);
    return s.overlaps || s.contexts || s.models || s.samplers;
}

static void a_backend_is_promised_or_not(void **state) {
    (void)state;
    static const char *const not [] = {"Vulkan", "ROCm", "SYCL", "OpenCL", "BLAS", "RPC", "CANN", "MUSA", "cuda", ""};
    assert_true(bt_backend_is_promised("CPU"));
    assert_true(bt_backend_is_promised("CUDA"));
    assert_true(bt_backend_is_promised("Metal"));
    assert_true(bt_backend_is_promised("MTL"));
    for (size_t i = 0; i < BT_COUNT(not ); i++)
        assert_false(bt_backend_is_promised(not [i]));
    assert_ptr_equal(bt_device_of("Vulkan"), bt_device_of("Vulkan"));
    assert_ptr_not_equal(bt_device_of("Vulkan"), bt_device_of("SYCL"));
}

static baton_llama *open_on(const char *path, baton_owner owner, int contexts) {
    baton_policy policy = BATON_POLICY;
    policy.owner = owner;
    policy.contexts = contexts;
    policy.sequences = owner == BATON_OWNER_THREAD ? 2 : 1;
    policy.when_full = BATON_WAIT;
    return api_open(path, &policy, 256);
}

/* Models of every kind on one device at once, each asked by two threads. */
static void probe_P02_all_contexts_on_one_device_take_turns(void **state) {
    (void)state;
    enum { MODELS = 4, ASKERS = 2 * MODELS };
    static const char path[] = "fake:device=Vulkan,len=60,token_us=20";
    static struct api_asker askers[ASKERS], alone[ASKERS];
    struct bt_fake_stats s;
    baton_llama *lone = open_on("fake:len=60", BATON_OWNER_CALLER, 1), *models[MODELS];
    for (int i = 0; i < MODELS; i++)
        models[i] = open_on(path, i % 2 ? BATON_OWNER_THREAD : BATON_OWNER_CALLER, 1 + i / 2);
    bt_fake_stats_reset();
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct api_asker){.m = models[i % MODELS], .number = i, .streaming = i >= MODELS};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, api_ask, &askers[i]), 0);
    }
    for (int i = 0; i < ASKERS; i++)
        pthread_join(askers[i].thread, NULL);
    bt_fake_stats(&s);
    assert_int_equal(s.overlaps, 0);
    assert_int_equal(s.decoding_max, 1);
    for (int i = 0; i < ASKERS; i++) {
        alone[i] = (struct api_asker){.m = lone, .number = i};
        api_ask(&alone[i]);
        assert_int_equal(askers[i].outcome.status, BATON_OK);
        assert_string_equal(askers[i].text, alone[i].text);
    }
    for (int i = 0; i < MODELS; i++)
        baton_llama_close(&models[i]);
    baton_llama_close(&lone);
}

/* Each decode waits until two are inside, or until it is clear that they will never be. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int inside;
    bool met;
} rendezvous = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};

static void meet(void *arg, const struct bt_fake_event *event) {
    (void)arg;
    if (event->call != BT_FAKE_DECODE_BEGIN && event->call != BT_FAKE_DECODE_END)
        return;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&rendezvous.lock);
    rendezvous.inside += event->call == BT_FAKE_DECODE_BEGIN ? 1 : -1;
    rendezvous.met |= rendezvous.inside == 2;
    pthread_cond_broadcast(&rendezvous.changed);
    while (event->call == BT_FAKE_DECODE_BEGIN && !rendezvous.met &&
           pthread_cond_timedwait(&rendezvous.changed, &rendezvous.lock, &until) == 0)
        ;
    pthread_mutex_unlock(&rendezvous.lock);
}

static bool two_meet(const char *one, const char *other) {
    static struct api_asker askers[2];
    baton_llama *models[2] = {open_on(one, BATON_OWNER_CALLER, 1), open_on(other, BATON_OWNER_CALLER, 1)};
    rendezvous.met = false;
    bt_fake_set_hook(meet, NULL);
    for (int i = 0; i < 2; i++) {
        askers[i] = (struct api_asker){.m = models[i], .number = i};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, api_ask, &askers[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(askers[i].thread, NULL);
    bt_fake_set_hook(NULL, NULL);
    for (int i = 0; i < 2; i++)
        baton_llama_close(&models[i]);
    return rendezvous.met;
}

static void probe_P06_P07_where_it_is_promised_and_on_two_devices_they_overlap(void **state) {
    (void)state;
    assert_true(two_meet("fake:device=CUDA", "fake:device=CUDA"));
    assert_true(two_meet("fake:device=Vulkan", "fake:device=SYCL"));
    assert_true(two_meet("fake:device=Vulkan", "fake:"));
}

struct hand {
    baton_llama *m;
    pthread_t thread;
    unsigned tid;
    sem_t inside, go_on;
    bool end_thread;
};
static void stay(void *arg, struct llama_context *context) {
    struct hand *h = arg;
    (void)context;
    h->tid = baton_guard_self();
    sem_post(&h->inside);
    while (sem_wait(&h->go_on))
        ;
    if (h->end_thread)
        pthread_exit(NULL);
}
static void *run_by_hand(void *arg) {
    struct hand *h = arg;
    (void)!baton_llama_run(h->m, NULL, stay, h, NULL);
    return NULL;
}
static void begin_by_hand(struct hand *h, baton_llama *m) {
    *h = (struct hand){.m = m};
    sem_init(&h->inside, 0, 0);
    sem_init(&h->go_on, 0, 0);
    assert_int_equal(pthread_create(&h->thread, NULL, run_by_hand, h), 0);
    while (sem_wait(&h->inside))
        ;
}

/* Code by hand on one model's context, an answer of another model. */
static void probe_P02_code_by_hand_has_its_turn_and_is_named(void **state) {
    (void)state;
    for (int owner = BATON_OWNER_CALLER; owner <= BATON_OWNER_THREAD; owner++) {
        baton_llama *by_hand = open_on("fake:device=Vulkan", (baton_owner)owner, 1);
        baton_llama *answers = open_on("fake:device=Vulkan,len=30", BATON_OWNER_CALLER, 1);
        static struct api_asker asker;
        struct hand h;
        struct bt_fake_stats before, now;
        baton_snapshot shot = {.size = sizeof shot};
        char *json;
        begin_by_hand(&h, by_hand);
        bt_fake_stats(&before);
        asker = (struct api_asker){.m = answers, .number = 1};
        assert_int_equal(pthread_create(&asker.thread, NULL, api_ask, &asker), 0);
        do {
            baton_snapshot_free(&shot);
            assert_int_equal(baton_llama_snapshot(answers, &shot, NULL), BATON_OK);
            sched_yield();
        } while (shot.device_waiting == 0);
        assert_string_equal(shot.device, "Vulkan");
        assert_int_equal(shot.device_tid, h.tid);
        assert_int_equal(baton_snapshot_json(&shot, &json, NULL), BATON_OK);
        assert_non_null(strstr(json, "\"device\":{\"name\":\"Vulkan\",\"tid\":"));
        baton_free(json);
        baton_snapshot_free(&shot);
        bt_fake_stats(&now);
        assert_int_equal(now.decodes, before.decodes);
        sem_post(&h.go_on);
        pthread_join(h.thread, NULL);
        pthread_join(asker.thread, NULL);
        assert_int_equal(asker.outcome.status, BATON_OK);
        baton_llama_close(&by_hand);
        baton_llama_close(&answers);
    }
}

static void probe_P02_between_begin_and_end_a_lease_has_its_turn(void **state) {
    (void)state;
    baton_llama *m = open_on("fake:device=Vulkan,shown=1", BATON_OWNER_CALLER, 1);
    struct bt_device *d = bt_device_of("Vulkan");
    baton_lease lease = BATON_LEASE;
    void *context;
    assert_int_equal(baton_llama_acquire(m, NULL, &lease, NULL), BATON_OK);
    assert_false(bt_device_is_mine(d));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(baton_lease_begin(&lease, BATON_OP_DECODE, &context, NULL), BATON_OK);
        assert_non_null(context);
        assert_true(bt_device_is_mine(d));
        baton_lease_end(&lease);
        assert_false(bt_device_is_mine(d));
    }
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    baton_llama_close(&m);
}

struct nested {
    baton_llama *caller, *thread;
    baton_status by_caller, by_thread;
};
static void ask_others(void *arg, struct llama_context *context) {
    struct nested *n = arg;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_result r;
    (void)context;
    ask.prompt = "hello";
    ask.max_tokens = 5;
    n->by_caller = baton_llama_generate(n->caller, &ask, &r, NULL);
    baton_result_free(&r);
    n->by_thread = baton_llama_generate(n->thread, &ask, &r, NULL);
    baton_result_free(&r);
}

/* Into another context is allowed (P04); what would wait for this very thread's turn to end is told so. */
static void probe_P04_from_inside_other_models_on_the_device_answer_or_say_why_not(void **state) {
    (void)state;
    baton_llama *m = open_on("fake:device=Vulkan", BATON_OWNER_CALLER, 1);
    struct nested n = {open_on("fake:device=Vulkan", BATON_OWNER_CALLER, 1),
                       open_on("fake:device=Vulkan", BATON_OWNER_THREAD, 1), BATON_FAILED, BATON_FAILED};
    assert_int_equal(baton_llama_run(m, NULL, ask_others, &n, NULL), BATON_OK);
    assert_int_equal(n.by_caller, BATON_OK);
    assert_int_equal(n.by_thread, BATON_WOULD_DEADLOCK);
    assert_false(bt_device_is_mine(bt_device_of("Vulkan")));
    baton_llama_close(&m);
    baton_llama_close(&n.caller);
    baton_llama_close(&n.thread);
}

static void probe_P05_a_thread_that_ends_inside_does_not_take_the_device_with_it(void **state) {
    (void)state;
    baton_llama *m = open_on("fake:device=Vulkan", BATON_OWNER_CALLER, 1);
    baton_llama *answers = open_on("fake:device=Vulkan,len=30", BATON_OWNER_CALLER, 1);
    static struct api_asker asker;
    struct hand h;
    begin_by_hand(&h, m);
    h.end_thread = true;
    sem_post(&h.go_on);
    pthread_join(h.thread, NULL);
    asker = (struct api_asker){.m = answers, .number = 1};
    api_ask(&asker);
    assert_int_equal(asker.outcome.status, BATON_OK);
    static baton_llama *volatile left_alone __attribute__((unused)); /* so that LeakSanitizer does not miss it */
    left_alone = m;
    baton_llama_close(&answers);
    baton_llama_close(&m);
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.contexts, 1); /* it is lost, and left alone with what it stands on */
    assert_int_equal(s.models, 1);
}

static int after_a_loss(void **state) {
    (void)state;
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    return s.overlaps || s.samplers;
}

static void the_device_is_told(void **state) {
    (void)state;
    baton_llama *on = open_on("fake:device=Vulkan", BATON_OWNER_THREAD, 1), *off = open_on("fake:", 0, 1);
    baton_llama_info info = {.size = sizeof info};
    baton_llama_get_info(on, &info);
    assert_string_equal(info.device, "Vulkan");
    baton_llama_get_info(off, &info);
    assert_string_equal(info.device, "");
    baton_llama_close(&on);
    baton_llama_close(&off);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backend_is_promised_or_not),
        cmocka_unit_test_setup_teardown(probe_P02_all_contexts_on_one_device_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_P06_P07_where_it_is_promised_and_on_two_devices_they_overlap, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(probe_P02_code_by_hand_has_its_turn_and_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_P02_between_begin_and_end_a_lease_has_its_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_P04_from_inside_other_models_on_the_device_answer_or_say_why_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_device_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_P05_a_thread_that_ends_inside_does_not_take_the_device_with_it, setup,
                                        after_a_loss),
    };
    return bt_test_run(tests, argc, argv);
}
