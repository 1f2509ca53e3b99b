/* Probes of owners as processes, on the fake with all its ways to die. */
#include "crashes.h"

static void probe_P40_killed_owners_are_not_noticed(void **state) {
    (void)state;
    killed_owners_are_not_noticed("fake:len=60,step_us=200", 1, 8, 40, 12, 0);
    killed_owners_are_not_noticed("fake:len=60,step_us=200", 2, 8, 40, 12, 0.9f);
}

/* A piece from the middle of its answer, where nobody else's has it: who says it dies of it. */
static void poison_of(const struct crowd *c, int who, char *text, size_t size) {
    const struct bt_buf *own = &c->lone[who];
    for (size_t at = own->len / 2; at + size < own->len; at++) {
        bool unique = true;
        memcpy(text, own->data + at, size - 1);
        text[size - 1] = '\0';
        for (int i = 0; i < c->n && unique; i++)
            unique = i == who || !memmem(c->lone[i].data, c->lone[i].len, text, size - 1);
        if (unique && !strpbrk(text, ",="))
            return;
    }
    fail_msg("nothing in answer %d is its own", who);
}

/* All but `who` finish as if nothing had been; it is told what it did, and keeps what it had. */
static void all_but_one(struct crowd *c, struct bt_front *f, int who, baton_status status) {
    struct answer *a = &c->answers[who];
    answers_wait(f, c->answers, c->n);
    assert_int_equal(a->outcome.status, status);
    assert_int_equal(a->done, 1);
    assert_true(a->text.len <= c->lone[who].len);
    assert_memory_equal(a->text.data, c->lone[who].data, a->text.len);
    a->outcome.status = BATON_OK;
    bt_buf_add(&a->text, c->lone[who].data + a->text.len, c->lone[who].len - a->text.len);
    crowd_is_whole(c, f);
}

static void probe_P42_who_faults_its_owner_alone_is_quarantined_and_seven_neighbours_finish(void **state) {
    (void)state;
    static const char *const kinds[] = {"segv", "abort", "assert", "exit0", "exit1", "partial", "garbage"};
    static struct crowd c;
    char model[96], poison[11];
    crowd_init(&c, "fake:len=60", 8, 40, 0);
    poison_of(&c, 3, poison, sizeof poison);
    for (size_t k = 0; k < BT_COUNT(kinds); k++) {
        snprintf(model, sizeof model, "fake:len=60,step_us=200,poison=%s,die=%s", poison, kinds[k]);
        struct bt_front_params p = crash_params(model, 1, 8);
        struct bt_front *f = crash_open(&p);
        crowd_ask(&c, f);
        answers_wait(f, c.answers, 8);
        assert_true(c.answers[3].text.len > 0);
        print_message("%s: %s\n", kinds[k], c.answers[3].error);
        if (strcmp(kinds[k], "assert") == 0)
            assert_non_null(strstr(c.answers[3].error, "ASSERT"));
        all_but_one(&c, f, 3, BATON_CRASHED);
        assert_int_equal(counts_of(f).quarantined, 1);
        assert_string_equal(state_of(f, 0), "ready");
        bt_front_close(&f);
    }
    crowd_free(&c);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P40_killed_owners_are_not_noticed),
        cmocka_unit_test(probe_P42_who_faults_its_owner_alone_is_quarantined_and_seven_neighbours_finish),
    };
    return bt_test_run(tests, argc, argv);
}
