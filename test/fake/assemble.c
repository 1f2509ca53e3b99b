/* Bodies in pieces: whole ones come out as they went in, whatever comes in between; a peer that does not keep to what
 * it announced is told from one that does. */
#include "harness.h"

#include <string.h>

#include "wire/assemble.h"

enum { SIZE = 3 * BT_PIECE + 17 };

static unsigned char *bytes_of(uint64_t seed, size_t size) {
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)bt_mix64(seed + i / 8 * 31 + i);
    return bytes;
}

/* The next piece of a body, taken. */
static baton_status piece(struct bt_bodies *b, enum bt_frame_type type, uint64_t id, const unsigned char *bytes,
                          size_t total, size_t *offset, struct bt_body **whole) {
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame f;
    *offset = bt_put_piece(&out, type, id, 1, bytes, total, *offset);
    assert_int_equal(bt_frame_peek(out.data, out.len, &f), BATON_OK);
    assert_true(f.len <= BT_PIECE + 20);
    baton_status status = bt_bodies_take(b, &f, whole);
    bt_buf_free(&out);
    return status;
}

static void pieces_of_several_bodies_come_together(void **state) {
    (void)state;
    enum { BODIES = 3 };
    struct bt_bodies b;
    struct bt_body *whole;
    unsigned char *bytes[BODIES];
    size_t offset[BODIES] = {0}, size[BODIES] = {SIZE, 2 * BT_PIECE, 5};
    uint64_t seed = bt_test_seed();
    int left = BODIES;
    bt_bodies_init(&b, BODIES);
    for (int i = 0; i < BODIES; i++)
        bytes[i] = bytes_of(seed + (uint64_t)i, size[i]);
    for (uint64_t round = 0; left > 0; round++) {
        size_t i = bt_mix64(seed ^ round) % BODIES;
        if (offset[i] == size[i])
            continue;
        baton_status status = piece(&b, BT_FRAME_CALL, 10 + i, bytes[i], size[i], &offset[i], &whole);
        assert_int_equal(status, offset[i] == size[i] ? BATON_OK : BATON_AGAIN);
        if (status)
            continue;
        left--;
        assert_true(whole->type == BT_FRAME_CALL && whole->head.id == 10 + i && whole->head.attempt == 1);
        assert_int_equal(whole->bytes.len, size[i]);
        assert_memory_equal(whole->bytes.data, bytes[i], size[i]);
        bt_body_free(whole);
    }
    assert_int_equal(b.n, 0);
    for (int i = 0; i < BODIES; i++)
        free(bytes[i]);
    bt_bodies_free(&b);
}

static void more_than_was_announced_is_a_broken_peer(void **state) {
    (void)state;
    struct bt_bodies b;
    struct bt_body *whole;
    unsigned char *bytes = bytes_of(1, SIZE);
    size_t offset = 0, lie = BT_PIECE;
    bt_bodies_init(&b, 2);
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 5, bytes, BT_PIECE + 9, &offset, &whole), BATON_AGAIN);
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 5, bytes, BT_PIECE + 10, &lie, &whole), BATON_PROTOCOL);
    assert_null(whole);
    assert_int_equal(b.n, 0);
    free(bytes);
    bt_bodies_free(&b);
}

static void less_than_was_announced_before_another_is_a_broken_peer(void **state) {
    (void)state;
    struct bt_bodies b;
    struct bt_body *whole;
    unsigned char *bytes = bytes_of(1, SIZE);
    size_t offset = 0, again = 0, stray = BT_PIECE;
    bt_bodies_init(&b, 2);
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 5, bytes, SIZE, &offset, &whole), BATON_AGAIN);
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 5, bytes, SIZE, &again, &whole), BATON_PROTOCOL);
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 6, bytes, SIZE, &stray, &whole), BATON_PROTOCOL); /* a PART of none */
    free(bytes);
    bt_bodies_free(&b);
}

static void parts_of_another_attempt_are_a_broken_peer(void **state) {
    (void)state;
    struct bt_bodies b;
    struct bt_body *whole;
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame f;
    unsigned char *bytes = bytes_of(1, SIZE);
    size_t offset = 0;
    bt_bodies_init(&b, 2);
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 5, bytes, SIZE, &offset, &whole), BATON_AGAIN);
    bt_put_piece(&out, BT_FRAME_SUBMIT, 5, 2, bytes, SIZE, offset);
    assert_int_equal(bt_frame_peek(out.data, out.len, &f), BATON_OK);
    assert_int_equal(bt_bodies_take(&b, &f, &whole), BATON_PROTOCOL);
    free(bytes);
    bt_buf_free(&out);
    bt_bodies_free(&b);
}

static void what_is_on_its_way_is_bounded(void **state) {
    (void)state;
    struct bt_bodies b;
    struct bt_body *whole;
    enum bt_frame_type type;
    struct bt_frame_body head;
    unsigned char *bytes = bytes_of(1, SIZE);
    bt_bodies_init(&b, 2);
    for (uint64_t id = 1; id <= 3; id++) {
        size_t offset = 0;
        assert_int_equal(piece(&b, BT_FRAME_SUBMIT, id, bytes, SIZE, &offset, &whole),
                         id <= 2 ? BATON_AGAIN : BATON_PROTOCOL);
    }
    assert_true(bt_bodies_drop(&b, 2, &type, &head));
    assert_true(type == BT_FRAME_SUBMIT && head.id == 2 && head.attempt == 1);
    assert_false(bt_bodies_drop(&b, 2, &type, &head));
    size_t offset = 0;
    assert_int_equal(piece(&b, BT_FRAME_SUBMIT, 3, bytes, SIZE, &offset, &whole), BATON_AGAIN);
    struct bt_buf out = BT_BUF_INIT;
    struct bt_frame f;
    bt_put_piece(&out, BT_FRAME_SUBMIT, 9, 1, bytes, SIZE, 0);
    memset(out.data + BT_FRAME_HEADER + 12, 0xff, 8); /* the announced total */
    assert_int_equal(bt_frame_peek(out.data, out.len, &f), BATON_OK);
    assert_int_equal(bt_bodies_take(&b, &f, &whole), BATON_PROTOCOL);
    bt_buf_free(&out);
    free(bytes);
    bt_bodies_free(&b);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_several_bodies_come_together),
        cmocka_unit_test(more_than_was_announced_is_a_broken_peer),
        cmocka_unit_test(less_than_was_announced_before_another_is_a_broken_peer),
        cmocka_unit_test(parts_of_another_attempt_are_a_broken_peer),
        cmocka_unit_test(what_is_on_its_way_is_bounded),
    };
    return bt_test_run(tests, argc, argv);
}
