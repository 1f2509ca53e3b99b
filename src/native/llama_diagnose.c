/* What of libggml runs here, for diagnostics. State: one text, made once. */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "native/llama_internal.h"

/* The backend's file tells its variant apart: libggml-cpu-haswell.so. It is found by one of its own functions. */
static void add_variant(struct bt_buf *out) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    void *own =
        cpu ? ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), "ggml_backend_set_n_threads") : NULL;
    Dl_info where;
    if (!own || !dladdr(own, &where) || !where.dli_fname)
        return;
    const char *slash = strrchr(where.dli_fname, '/');
    const char *name = slash ? slash + 1 : where.dli_fname;
    bt_buf_add(out, name, strcspn(name, "."));
    bt_buf_adds(out, ": ");
}

static char cpu[2048]; /* written under cpu_once only */
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

/* Once: libllama makes its answer anew at each call, in one place of its own. */
static void make_cpu(void) {
    struct bt_buf text = BT_BUF_INIT;
    baton_error err;
    if (bt_llama_start(&err) != BATON_OK)
        return;
    add_variant(&text);
    bt_buf_adds(&text, llama_print_system_info());
    if (!text.failed)
        snprintf(cpu, sizeof cpu, "%.*s", (int)text.len, (const char *)text.data);
    bt_buf_free(&text);
}

void bt_native_cpu(struct bt_buf *out) {
    pthread_once(&cpu_once, make_cpu);
    bt_buf_adds(out, cpu);
}
