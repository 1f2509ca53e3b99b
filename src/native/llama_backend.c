/* The native libraries' process-wide part: backends by exact path, the one log, libllama's versions. State: the
 * one-time start, and per thread the buffer that collects the causes of a failure. */
#include "native/device.h"
#include "native/llama_internal.h"
#include "native/sd.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t started = PTHREAD_ONCE_INIT;
static baton_error start_error; /* written under `started` only */

static _Thread_local struct bt_buf *listening;
static _Thread_local enum ggml_log_level line_level; /* of the line that a CONT goes on */

void bt_native_log(enum ggml_log_level level, const char *text, void *arg) {
    (void)arg;
    if (level != GGML_LOG_LEVEL_CONT)
        line_level = level;
    if (listening && line_level == GGML_LOG_LEVEL_ERROR)
        bt_buf_adds(listening, text);
    size_t len = strcspn(text, "\n");
    /* its own debug level has lines for every tensor of every graph */
    if (len > 0 && line_level != GGML_LOG_LEVEL_DEBUG && bt_log_level() >= BATON_LOG_DEBUG)
        bt_log(BATON_LOG_DEBUG, "native: %.*s", (int)BT_MIN(len, (size_t)INT_MAX), text);
}

void bt_llama_listen(struct bt_buf *causes) {
    listening = causes;
}

const char *bt_llama_heard(struct bt_buf *causes) {
    listening = NULL;
    bt_buf_add(causes, "", 1);
    if (causes->failed || causes->data[0] == '\0')
        return "the native library gave no reason";
    /* the first line is the cause, the others say who was calling whom */
    causes->data[strcspn((char *)causes->data, "\n")] = '\0';
    return (char *)causes->data;
}

static bool has_backends(const char *dir) {
    char pattern[PATH_MAX + 32];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/libggml-cpu*.so", dir);
    int rc = glob(pattern, GLOB_NOSORT, NULL, &found);
    globfree(&found);
    return rc == 0;
}

/* Backends lie beside the libggml that is loaded, in ggml/backendsN (Debian) or in its own directory (a user's build).
 * ggml_backend_load_all would search the current directory too, and run what lies there. */
static bool backend_dir(char dir[PATH_MAX], baton_error *err) {
    Dl_info where;
    void *symbol = dlsym(RTLD_DEFAULT, "ggml_backend_load_all_from_path");
    char *file = symbol && dladdr(symbol, &where) && where.dli_fname ? realpath(where.dli_fname, NULL) : NULL;
    if (!file) {
        bt_fail(err, BATON_NOT_FOUND, "libggml has no compute backend built in and its file cannot be found");
        return false;
    }
    *strrchr(file, '/') = '\0';
    char pattern[PATH_MAX + 32];
    glob_t found;
    bool have = false;
    snprintf(pattern, sizeof pattern, "%s/ggml/backends*", file);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = found.gl_pathc; i-- > 0 && !have;)
            if ((have = has_backends(found.gl_pathv[i])))
                snprintf(dir, PATH_MAX, "%s", found.gl_pathv[i]);
    globfree(&found);
    if (!have && (have = has_backends(file)))
        snprintf(dir, PATH_MAX, "%s", file);
    if (!have)
        bt_fail(err, BATON_NOT_FOUND,
                "no compute backend (libggml-cpu*.so) in %s/ggml/backends* or %s: install the backends of this libggml",
                file, file);
    free(file);
    return have;
}

static void start(void) {
    char dir[PATH_MAX];
    llama_log_set(bt_native_log, NULL);
    if (ggml_backend_reg_count() == 0) {
        if (!backend_dir(dir, &start_error))
            return;
        ggml_backend_load_all_from_path(dir);
        if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) {
            bt_fail(&start_error, BATON_UNSUPPORTED, "no backend in %s runs on this machine's processor", dir);
            return;
        }
    }
    llama_backend_init();
}

baton_status bt_llama_start(baton_error *err) {
    pthread_once(&started, start);
    if (start_error.status != BATON_OK)
        return bt_fail(err, start_error.status, "%s", start_error.text);
    return BATON_OK;
}

baton_status bt_native_start(baton_error *err) {
    return bt_llama_start(err);
}

void bt_llama_catch_abort(void (*say)(const char *text)) {
    ggml_set_abort_callback(say);
}

/* All backends without that promise count as one device: a context may compute on several of them. Without GPU layers
 * only what accelerates the CPU is used. */
baton_status bt_llama_device(int gpu_layers, struct bt_device **device, baton_error *err) {
    char name[64] = "";
    bool used = false;
    *device = NULL;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        const char *backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(dev));
        if (bt_backend_is_promised(backend))
            continue;
        used |= gpu_layers != 0 || ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_ACCEL;
        size_t len = strlen(name);
        if (!strstr(name, backend))
            snprintf(name + len, sizeof name - len, "%s%s", len ? "+" : "", backend);
    }
    if (!used)
        return BATON_OK;
    *device = bt_device_of(name);
    return *device ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for the device %s", name);
}

/* One core is left to everybody else: ggml's threads spin, and on all cores they collapse beside any other work. */
int bt_native_threads(int asked) {
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) - 1 : 1;
    return asked > 0 ? asked : BT_MAX(n, 1);
}

static char versions[512]; /* written under versions_once only */
static pthread_once_t versions_once = PTHREAD_ONCE_INIT;

static void make_versions(void) {
    baton_error err;
    int at = snprintf(versions, sizeof versions, "llama.cpp %s, ggml %s", llama_version(), ggml_version());
    if (bt_llama_start(&err) != BATON_OK)
        return;
    for (size_t i = 0; i < ggml_backend_dev_count() && at > 0 && at < (int)sizeof versions; i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        at += snprintf(versions + at, sizeof versions - (size_t)at, ", %s (%s)", ggml_backend_dev_name(dev),
                       ggml_backend_dev_description(dev));
    }
}

void bt_native_versions(struct bt_buf *out) {
    pthread_once(&versions_once, make_versions);
    bt_buf_adds(out, versions);
    if (bt_llama_has_vision())
        bt_buf_adds(out, ", images by libmtmd");
    if (bt_sd_version())
        bt_buf_addf(out, ", stable-diffusion.cpp %s (untested: baton was tested with a stand-in)", bt_sd_version());
}
