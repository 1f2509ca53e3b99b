/* The runtime's diagnostics, its model file's hash, and what sampling makes sense. No state. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "api/runtime_int.h"
#include "native/native.h"

static bool sha256_of(int fd, char text[65]) {
    unsigned char block[1 << 16], digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ssize_t n = -1;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    while (ok && ((n = read(fd, block, sizeof block)) > 0 || (n < 0 && errno == EINTR)))
        ok = n < 0 || EVP_DigestUpdate(ctx, block, (size_t)n);
    ok = ok && n == 0 && EVP_DigestFinal_ex(ctx, digest, &len);
    EVP_MD_CTX_free(ctx);
    for (unsigned i = 0; ok && i < len && i < 32; i++)
        snprintf(text + (size_t)2 * i, 3, "%02x", digest[i]);
    return ok;
}

void bt_artifact_read(const char *path, bool hash, struct bt_artifact *a) {
    struct stat st;
    memset(a, 0, sizeof *a);
    path = path ? path : bt_builtin_model_path();
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        snprintf(a->path, sizeof a->path, "%s", path);
        a->bytes = (uint64_t)st.st_size;
        if (hash && !sha256_of(fd, a->sha256))
            a->sha256[0] = '\0';
    }
    close(fd);
}

bool bt_artifact_same(const struct bt_artifact *a, int64_t since_ns) {
    struct stat st;
    return stat(a->path, &st) == 0 && (uint64_t)st.st_size == a->bytes &&
           st.st_ctim.tv_sec * BT_NS_PER_S + st.st_ctim.tv_nsec <= since_ns;
}

static void json_number(struct bt_buf *out, const char *name, double value) {
    bt_buf_addf(out, "\"%s\":%.9g,", name, value);
}

static void json_text(struct bt_buf *out, const char *name, const char *text) {
    bt_buf_addf(out, "\"%s\":", name);
    bt_json_string(out, text, strlen(text));
    bt_buf_adds(out, ",");
}

static void json_made(struct bt_buf *out, const char *name, void (*make)(struct bt_buf *out)) {
    struct bt_buf text = BT_BUF_INIT;
    make(&text);
    bt_buf_add(&text, "", 1);
    json_text(out, name, text.failed ? "" : (const char *)text.data);
    bt_buf_free(&text);
}

static void json_model(struct bt_buf *out, const struct bt_runtime_facts *f) {
    bt_buf_adds(out, "\"model\":");
    if (!f->loaded) {
        bt_buf_adds(out, "null,");
        return;
    }
    bt_buf_adds(out, "{");
    json_text(out, "name", f->info.name);
    json_text(out, "description", f->info.description);
    json_text(out, "device", f->info.device);
    bt_buf_addf(out, "\"ctx\":%d,\"threads\":%d,\"exact\":%s,", f->info.ctx, f->threads,
                f->info.exact ? "true" : "false");
    bt_buf_addf(out,
                "\"weight_bytes\":%llu,\"context_bytes\":%llu,\"artifact\":", (unsigned long long)f->info.weight_bytes,
                (unsigned long long)f->info.context_bytes);
    if (f->artifact.path[0]) {
        bt_buf_adds(out, "{");
        json_text(out, "path", f->artifact.path);
        bt_buf_addf(out, "\"bytes\":%llu,\"sha256\":", (unsigned long long)f->artifact.bytes);
        if (f->artifact.sha256[0])
            bt_json_string(out, f->artifact.sha256, strlen(f->artifact.sha256));
        else
            bt_buf_adds(out, "null");
        bt_buf_adds(out, "}},");
    } else {
        bt_buf_adds(out, "null},");
    }
}

void bt_runtime_json(const struct bt_runtime_facts *f, struct bt_buf *out) {
    const baton_sampling *s = &f->sampling;
    bt_buf_adds(out, "{\"schema\":\"baton.runtime\",\"version\":1,");
    json_text(out, "baton", BATON_VERSION);
    json_text(out, "state", !f->loaded ? "no model" : f->under_way ? "running" : "idle");
    bt_buf_addf(out, "\"under_way\":%zu,\"transcript\":%zu,", f->under_way, f->transcript);
    json_made(out, "libraries", bt_native_versions);
    json_made(out, "cpu", bt_native_cpu);
    json_model(out, f);
    bt_buf_adds(out, "\"sampling\":{");
    json_number(out, "temperature", s->temperature);
    json_number(out, "top_p", s->top_p);
    json_number(out, "top_k", s->top_k);
    json_number(out, "min_p", s->min_p);
    json_number(out, "presence_penalty", s->presence_penalty);
    json_number(out, "frequency_penalty", s->frequency_penalty);
    json_number(out, "repeat_penalty", s->repeat_penalty);
    json_number(out, "penalty_last_n", s->penalty_last_n);
    bt_buf_addf(out, "\"seed\":%llu,\"n_bias\":%zu},", (unsigned long long)s->seed, s->n_bias);
    bt_buf_addf(out, "\"policy\":{\"when_full\":\"%s\",\"queue\":%d,\"queue_ms\":%lld,\"run_ms\":%lld,\"keep\":%d}}",
                f->params.when_full == BATON_WAIT ? "wait" : "refuse", f->params.queue, (long long)f->params.queue_ms,
                (long long)f->params.run_ms, f->params.keep);
}

baton_status bt_check_sampling(const baton_sampling *s, baton_error *err) {
    const struct {
        const char *name;
        double value, least, most;
        bool without_least;
    } fields[] = {
        {"temperature", s->temperature, 0, 100, false},
        {"top_p", s->top_p, 0, 1, true},
        {"top_k", s->top_k, 0, INT32_MAX, false},
        {"min_p", s->min_p, 0, 1, false},
        {"presence_penalty", s->presence_penalty, -2, 2, false},
        {"frequency_penalty", s->frequency_penalty, -2, 2, false},
        {"repeat_penalty", s->repeat_penalty, 0, 10, true},
        {"penalty_last_n", s->penalty_last_n, -1, INT32_MAX, false},
        {"n_bias", (double)s->n_bias, 0, BT_RUNTIME_BIAS_MAX, false},
    };
    for (size_t i = 0; i < BT_COUNT(fields); i++) {
        bool fits = fields[i].value >= fields[i].least && fields[i].value <= fields[i].most; /* no NaN does */
        if (!fits || (fields[i].without_least && fields[i].value == fields[i].least))
            return bt_fail(err, BATON_INVALID, "%s is %g: %s%g to %g are possible", fields[i].name, fields[i].value,
                           fields[i].without_least ? "over " : "", fields[i].least, fields[i].most);
    }
    if (s->n_bias > 0 && !s->bias)
        return bt_fail(err, BATON_INVALID, "bias is NULL, and n_bias %zu", s->n_bias);
    for (size_t i = 0; i < s->n_bias; i++)
        if (isnan(s->bias[i].bias) || s->bias[i].token < 0)
            return bt_fail(err, BATON_INVALID, "bias[%zu] is %g for token %d: a number for a token of the vocabulary",
                           i, (double)s->bias[i].bias, (int)s->bias[i].token);
    return BATON_OK;
}
