/* Intrusive doubly linked list. The owner of the head owns the links; a node is in one list at most. */
#ifndef BT_LIST_H
#define BT_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct bt_list {
    struct bt_list *prev, *next;
};

static inline void bt_list_init(struct bt_list *l) {
    l->prev = l->next = l;
}
static inline bool bt_list_empty(const struct bt_list *l) {
    return l->next == l;
}
static inline void bt_list_append(struct bt_list *head, struct bt_list *node) {
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
/* Leaves the node an empty list of its own, so that removing it twice is harmless. */
static inline void bt_list_remove(struct bt_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    bt_list_init(node);
}

#endif
