/* What the implementations share about devices: which backends need turns, and the contexts that take them. */
#ifndef BT_DEVICE_H
#define BT_DEVICE_H

#include "native/native.h"

/* Whether upstream promises that two contexts may use it at once: its name as ggml registers it. */
bool bt_backend_is_promised(const char *backend);

/* The device of that name, one for all who ask; NULL: out of memory. */
struct bt_device *bt_device_of(const char *name);

/* Puts *c behind the device's gate (NULL: leaves it as it is). On failure *c is as it was. */
baton_status bt_device_gate(struct bt_device *d, struct bt_context **c, baton_error *err);
/* What stands behind the gate; c itself where there is none. */
struct bt_context *bt_device_inner(struct bt_context *c);

/* The device that contexts of a model with that many GPU layers share; NULL: they need not mind each other. */
baton_status bt_llama_device(int gpu_layers, struct bt_device **device, baton_error *err);

#endif
