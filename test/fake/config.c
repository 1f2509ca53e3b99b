/* The configuration file: what is understood, what is a fault and how it is told, and that no bytes break the reader.
 */
#include "harness.h"

#include <string.h>
#include <unistd.h>

#include "config/config.h"

static const char GOOD[] = "\xef\xbb\xbf# a comment\n"
                           "; another\r\n"
                           "[defaults]\n"
                           "ctx = 512\n"
                           "queue = 3   ; three\n"
                           "\n"
                           "[model small]\n"
                           "file = fake:len=4\n"
                           "sequences = 4\n"
                           "  when-full = refuse\n"
                           "queue_timeout = never\n"
                           "\n"
                           "[model big one]\n"
                           "file = fake:len=9\n"
                           "ctx = 1024\n"
                           "contexts: 2\n"
                           "exact = off\n"
                           "lora = fake:a:0.5, fake:b\n"
                           "[ role fast ] ; by name\n"
                           "models = small\n"
                           "[role deep]\n"
                           "models = big one , fast,small\n"
                           "[model alone]\n"
                           "file = builtin\n"
                           "sequential = yes\n"
                           "[model vectors]\n"
                           "file = fake:len=1\n"
                           "pooling = mean\n"
                           "[serve]\n"
                           "port = 9000\n"
                           "body_max = 1M\n"
                           "drain = 1500ms\n"
                           "log = debug\n"
                           "[work]\n"
                           "workers = 4\n"
                           "mode = one_shot\n";

struct read {
    struct bt_config *config;
    struct bt_buf faults;
    baton_error err;
    baton_status status;
};

static struct read parse_n(const char *text, size_t len) {
    struct read r = {.faults = BT_BUF_INIT};
    char *copy = malloc(len + !len); /* its exact size, for the sanitizers */
    assert_non_null(copy);
    memcpy(copy, text, len);
    r.status = bt_config_parse("x.ini", copy, len, &r.config, &r.faults, &r.err);
    free(copy);
    bt_buf_add(&r.faults, "", 1);
    assert_int_equal(r.config != NULL, r.status == BATON_OK);
    assert_int_equal(r.status == BATON_INVALID, r.faults.len > 1);
    assert_true(bt_utf8_valid((const char *)r.faults.data, r.faults.len - 1));
    return r;
}

static struct read parse(const char *text) {
    return parse_n(text, strlen(text));
}

static void done(struct read *r) {
    bt_config_free(&r->config);
    bt_buf_free(&r->faults);
}

/* The whole of what is told, each fault as it stands. */
static void faults_are(const char *text, const char *expected) {
    struct read r = parse(text);
    assert_string_equal((const char *)r.faults.data, expected);
    assert_int_equal(r.status, BATON_INVALID);
    done(&r);
}

static bool told(const struct read *r, const char *part) {
    return strstr((const char *)r->faults.data, part) != NULL;
}

static void a_good_file_is_understood(void **state) {
    struct read r = parse_n(GOOD, sizeof GOOD - 1);
    (void)state;
    assert_string_equal((const char *)r.faults.data, "");
    struct bt_config *c = r.config;
    assert_int_equal(c->n_models, 4);
    struct bt_model_settings *small = &c->models[0], *big = &c->models[1], *alone = &c->models[2];
    assert_string_equal(small->name, "small");
    assert_string_equal(small->file, "fake:len=4");
    assert_int_equal(small->ctx, 512);
    assert_int_equal(small->queue, 3);
    assert_int_equal(small->when_full, 1);
    assert_true(small->queue_timeout == -1 && small->run_timeout == 600000);
    assert_string_equal(big->name, "big one");
    assert_int_equal(big->ctx, 1024);
    for (int i = 0; i < c->n_models; i++)
        assert_int_equal(bt_model_settings_complete(&c->models[i], &r.err), BATON_OK);
    assert_int_equal(small->contexts * 100 + small->sequences, 104);
    assert_int_equal(big->contexts * 100 + big->sequences, 208);
    assert_int_equal(alone->contexts * 100 + alone->sequences, 101);
    assert_int_equal(c->models[3].contexts * 100 + c->models[3].sequences, 101);
    assert_null(alone->file);
    assert_int_equal(big->n_loras, 2);
    assert_string_equal(big->loras[0].path, "fake:a");
    assert_string_equal(big->loras[1].path, "fake:b");
    assert_true(big->loras[0].scale == 0.5f && big->loras[1].scale == 1);
    assert_int_equal(c->n_roles, 2);
    assert_string_equal(c->roles[0].name, "fast");
    assert_int_equal(c->roles[1].n, 3);
    assert_string_equal(c->roles[1].targets[0], "big one");
    assert_string_equal(c->roles[1].targets[1], "fast");
    assert_int_equal(c->serve.port, 9000);
    assert_true(c->serve.body_max == 1 << 20 && c->serve.drain == 1500);
    assert_string_equal(c->serve.host, "127.0.0.1");
    assert_int_equal(c->work.workers, 4);
    assert_int_equal(c->work.mode, BT_WORK_ONE_SHOT);
    done(&r);
}

static void a_model_becomes_the_parameters_of_a_front(void **state) {
    struct read r = parse_n(GOOD, sizeof GOOD - 1);
    struct bt_front_params p;
    (void)state;
    struct bt_model_settings *m = &r.config->models[0];
    assert_int_equal(bt_model_settings_complete(m, &r.err), BATON_OK);
    bt_model_settings_front(m, &p);
    assert_string_equal(p.model.path, "fake:len=4");
    assert_int_equal(p.context.sequences, 4);
    assert_int_equal(p.context.ctx, 512);
    assert_true(p.context.exact);
    assert_int_equal(p.when_full, BT_REFUSE);
    assert_int_equal(p.queue_max, 3);
    assert_true(p.queue_ms == -1 && p.run_ms == 600000);
    m = &r.config->models[1];
    assert_int_equal(bt_model_settings_complete(m, &r.err), BATON_OK);
    bt_model_settings_front(m, &p);
    assert_int_equal(p.contexts, 2);
    assert_false(p.context.exact);
    assert_int_equal(p.model.n_loras, 2);
    assert_false(p.hears);
    done(&r);
}

static void a_model_of_speech_is_opened_as_one_that_hears(void **state) {
    static const char text[] = "[model ear]\nfile = fake:\nkind = speech\ncontexts = 2\ngpu_layers = -1\n";
    struct read r = parse_n(text, sizeof text - 1);
    struct bt_front_params p;
    (void)state;
    assert_int_equal(bt_model_settings_complete(&r.config->models[0], &r.err), BATON_OK);
    bt_model_settings_front(&r.config->models[0], &p);
    assert_true(p.hears);
    assert_int_equal(p.contexts, 2);
    assert_int_equal(p.context.sequences, 1);
    assert_int_equal(p.model.gpu_layers, 1);
    done(&r);
}

static void a_model_of_images_is_opened_as_one_that_draws(void **state) {
    static const char text[] = "[model one]\nfile = fake:\nkind = image\ngpu_layers = -1\nthreads = 3\n"
                               "[model parts]\nkind = image\ndiffusion_model = /dev/null\nvae = /dev/null\n"
                               "hang_limit = 7s\ncontexts = 2\n";
    struct read r = parse_n(text, sizeof text - 1);
    struct bt_front_params p;
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(bt_model_settings_complete(&r.config->models[i], &r.err), BATON_OK);
    bt_model_settings_front(&r.config->models[0], &p);
    assert_true(p.draws && !p.hears && p.contexts == 1 && p.context.sequences == 1 && p.model.gpu_layers == -1);
    assert_true(p.hang_ms == BT_DRAW_HANG_MS && p.sd.threads == 3 && !p.sd.parts[BT_SD_VAE]);
    assert_string_equal(p.sd.parts[BT_SD_MODEL], "fake:");
    bt_model_settings_front(&r.config->models[1], &p);
    assert_true(p.draws && p.contexts == 2 && p.hang_ms == 7000 && !p.sd.parts[BT_SD_MODEL]);
    assert_string_equal(p.sd.parts[BT_SD_DIFFUSION_MODEL], "/dev/null");
    assert_string_equal(p.sd.parts[BT_SD_VAE], "/dev/null");
    done(&r);
    faults_are("[model a]\nkind = image\nvae = /dev/null\n",
               "x.ini:1: [model a] has no file: expected file = FILE, or file = builtin\n"
               "x.ini:1: [model a]: kind = image needs a model's file, or a diffusion_model and its other parts: no "
               "built-in model draws\n");
    faults_are("[model a]\nfile = fake:len=1\nvae = /dev/null\n",
               "x.ini:1: [model a]: parts (diffusion_model, vae, ...) are for models of kind = image\n");
    faults_are("[model a]\nfile = fake:len=1\nkind = image\nvae = /nowhere/vae\n",
               "x.ini:4: vae is \"/nowhere/vae\", which cannot be read: No such file or directory\n");
}

static struct bt_buf written(struct read *r) {
    struct bt_buf out = BT_BUF_INIT;
    for (int i = 0; i < r->config->n_models; i++)
        assert_int_equal(bt_model_settings_complete(&r->config->models[i], &r->err), BATON_OK);
    bt_config_write(r->config, &out);
    assert_false(out.failed);
    return out;
}

static void what_is_written_reads_the_same(void **state) {
    struct read first = parse_n(GOOD, sizeof GOOD - 1);
    (void)state;
    struct bt_buf one = written(&first);
    struct read second = parse_n((const char *)one.data, one.len);
    assert_string_equal((const char *)second.faults.data, "");
    struct bt_buf two = written(&second);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    bt_buf_add(&one, "", 1);
    const char *text = (const char *)one.data;
    assert_non_null(strstr(text, "[model small]\nfile = fake:len=4\nctx = 512\n"));
    assert_non_null(strstr(text, "queue_timeout = never\nrun_timeout = 10m\n"));
    assert_non_null(strstr(text, "[model alone]\nfile = builtin\n"));
    assert_non_null(strstr(text, "contexts = 1\nsequences = 1\n"));
    assert_non_null(strstr(text, "; api_key_file is not set\n"));
    assert_non_null(strstr(text, "models = big one, fast, small\n"));
    bt_buf_free(&one);
    bt_buf_free(&two);
    done(&first);
    done(&second);
}

static void probe_P62_faults_name_line_found_and_expected(void **state) {
    (void)state;
    faults_are("[model a]\nfile = fake:len=1\nqueue = -4\n",
               "x.ini:3: queue is \"-4\": expected a whole number from 0 to 1048576\n");
    faults_are("[model a]\nfile = fake:len=1\nwhen_full = maybe\n",
               "x.ini:3: when_full is \"maybe\": expected one of wait|refuse\n");
    faults_are("[model a]\nfile = fake:len=1\nrun_timeout = 10\n",
               "x.ini:3: run_timeout is \"10\": expected a time from 0ms to 168h such as 500ms, 30s, 10m or 2h, or "
               "never\n");
    faults_are("[model a]\nfile = fake:len=1\nsequential = 1\n", "x.ini:3: sequential is \"1\": expected yes or no\n");
    faults_are("[work]\nworkers = abc\n[model a]\nfile = fake:len=1\n",
               "x.ini:2: workers is \"abc\": expected a whole number from 1 to 1024\n");
    faults_are("[work]\nworkers=0\nspeed = 3\n[model a]\nfile = fake:len=1\n",
               "x.ini:2: workers is \"0\": expected a whole number from 1 to 1024\n"
               "x.ini:3: there is no key \"speed\" in [work]: expected one of workers, mode, "
               "backlog, drain, events, log\n");
    faults_are("[modle a]\nfile = fake:len=1\n[model b]\nfile = fake:len=1\n[model]\n",
               "x.ini:1: there is no section [modle a]: expected [serve], [work], [defaults], [model NAME] or [role "
               "NAME]\n"
               "x.ini:5: there is no section [model]: expected [serve], [work], [defaults], [model NAME] or [role "
               "NAME]\n");
    faults_are("[model a]\nfile = /nowhere/a.gguf\n",
               "x.ini:2: file is \"/nowhere/a.gguf\", which cannot be read: No such file or directory\n");
    faults_are("[model a]\nfile = /\n", "x.ini:2: file is \"/\", which is a directory: expected a file\n");
    faults_are("\n[model a]\nctx = 5\n", "x.ini:2: [model a] has no file: expected file = FILE, or file = builtin\n");
    faults_are("", "x.ini: there is no model: expected at least one [model NAME]\n");
    faults_are("[serve]\nport = 1", "x.ini: there is no model: expected at least one [model NAME]\n");
}

static void probe_P62_what_comes_twice_is_a_fault(void **state) {
    (void)state;
    faults_are("[model a]\nfile = fake:len=1\nqueue-timeout = 1s\nqueue_timeout = 2s\n",
               "x.ini:4: queue_timeout comes twice in [model a]: it is in line 3 already\n");
    faults_are("[model a]\nfile = fake:len=1\n[serve]\n[model a]\nfile = fake:len=2\n",
               "x.ini:4: [model a] comes twice: it is in line 1 already\n");
    faults_are("[model a]\nfile = fake:len=1\n[role a]\nmodels = a\n",
               "x.ini:4: [role a] has the name of a model\n"
               "x.ini:4: [role a] would lead to itself: a -> a\n");
}

static void probe_P62_lines_that_make_no_sense_are_faults(void **state) {
    (void)state;
    faults_are("ctx = 3\nqueue = 4\n[model a]\nfile = fake:len=1\nfoo\n= 5\nqueue =\nctx\n",
               "x.ini:1: \"ctx\" stands before the first [SECTION]\n"
               "x.ini:5: found \"foo\": expected KEY = VALUE, [SECTION] or a comment\n"
               "x.ini:8: found \"ctx\": expected KEY = VALUE, [SECTION] or a comment\n"
               "x.ini:6: there is no key \"\" in [model a]: expected one of file, ctx, threads, gpu_layers, exact, "
               "chat_template, lora, mmproj, contexts, sequences, when_full, queue, queue_timeout, run_timeout, owner, "
               "no_sandbox, resume, hang_limit, start_limit, owner_core, kind, sequential, "
               "diffusion_model, vae, clip_l, clip_g, t5xxl, llm, pooling\n"
               "x.ini:7: queue is \" \": expected a whole number from 0 to 1048576\n");
    faults_are("[model a]\nfile = fake:len=1\nlora =\n[defaults]\nfile = b\n[model b\n[model c] d\n",
               "x.ini:6: found \"[model b\": expected [SECTION] alone on its line\n"
               "x.ini:7: found \"[model c] d\": expected [SECTION] alone on its line\n"
               "x.ini:3: lora has no value: leave the line out where it is not wanted\n"
               "x.ini:5: file in [defaults]: each [model NAME] says its own\n");
    faults_are("[model a]\nfile = fake:len=1\n[model \x01\x02]\nfile = fake:len=1\n",
               "x.ini:3: the name of [model ??]: expected 1 to 63 bytes of UTF-8 without commas\n");
}

static void an_indented_line_is_a_key_and_not_more_of_the_last(void **state) {
    struct read r = parse("[model a]\n  file = fake:len=1\n\tqueue = 5\n");
    (void)state;
    assert_string_equal((const char *)r.faults.data, "");
    assert_string_equal(r.config->models[0].file, "fake:len=1");
    assert_int_equal(r.config->models[0].queue, 5);
    done(&r);
}

/* inih would cut the name after 49 bytes, and the line after as many as it was built for. */
static void long_names_and_long_lines_are_whole_or_told(void **state) {
    char name[80], text[9000];
    (void)state;
    memset(name, 'n', sizeof name);
    name[63] = '\0';
    int n = snprintf(text, sizeof text, "[model %s]\nfile = fake:len=1\n", name);
    struct read r = parse_n(text, (size_t)n);
    assert_string_equal(r.config->models[0].name, name);
    done(&r);
    name[63] = 'n';
    name[64] = '\0';
    n = snprintf(text, sizeof text, "[model %s]\nfile = fake:len=1\n", name);
    r = parse_n(text, (size_t)n);
    assert_true(told(&r, "x.ini:1: the name of [model nnn"));
    done(&r);
    for (int len = 100; len < 8000; len = len * 5 / 4) {
        n = snprintf(text, sizeof text, "[model a]\nfile = fake:len=1\nchat_template = %0*d\n", len, 0);
        r = parse_n(text, (size_t)n);
        if (r.status == BATON_OK)
            assert_int_equal(strlen(r.config->models[0].chat_template), len);
        else
            assert_true(told(&r, "x.ini:3: a line of ") && told(&r, " bytes: at most "));
        done(&r);
    }
    r = parse_n("[model a]\nfile = fake:len=1\0x\n", 30);
    assert_true(told(&r, "x.ini:2: a byte of value 0"));
    done(&r);
}

static void roles_lead_somewhere_and_never_to_themselves(void **state) {
    (void)state;
    faults_are("[model a]\nfile = fake:len=1\n[role x]\nmodels = a, y\n[role y]\nmodels = z\n[role z]\nmodels = x,a\n",
               "x.ini:4: [role x] would lead to itself: x -> y -> z -> x\n"
               "x.ini:6: [role y] would lead to itself: y -> z -> x -> y\n"
               "x.ini:8: [role z] would lead to itself: z -> x -> y -> z\n");
    faults_are("[model a]\nfile = fake:len=1\n[role x]\nmodels = b\n[role y]\n[role z]\nmodels = a,,x\nmodel = a\n",
               "x.ini:5: [role y] has no models: expected models = NAME, NAME, ...\n"
               "x.ini:8: there is no key \"model\" in [role z]: expected models\n"
               "x.ini:7: models of [role z]: expected names with commas between them\n"
               "x.ini:4: [role x] names \"b\", which is not there: there are the models a and the roles x, y, z\n");
    /* two ways to one model are no cycle */
    struct read r = parse("[model a]\nfile = fake:len=1\n[role x]\nmodels = y, z\n[role y]\nmodels = a\n[role z]\n"
                          "models = y, a\n");
    assert_string_equal((const char *)r.faults.data, "");
    done(&r);
}

static void what_does_not_belong_together_is_a_fault(void **state) {
    (void)state;
    faults_are("[model a]\nfile = fake:len=1\nsequential = yes\nsequences = 2\n",
               "x.ini:1: [model a]: sequential = yes is one context of one sequence: not sequences = 2\n");
    faults_are("[model a]\nfile = builtin\nkind = speech\n",
               "x.ini:1: [model a]: kind = speech needs a model's file: no built-in model hears\n");
    faults_are("[model a]\nfile = fake:len=1\nkind = speech\npooling = mean\n",
               "x.ini:1: [model a]: pooling is for models of kind = text\n");
    faults_are("[model a]\nfile = fake:len=1\nlora = a,,b\n",
               "x.ini:1: [model a]: lora is \"a,,b\": expected files with commas between them\n");
    faults_are("[model a]\nfile = builtin\nlora = /nowhere/a.gguf:0.5\n",
               "x.ini:3: lora is \"/nowhere/a.gguf\", which cannot be read: No such file or directory\n");
}

static void files_are_looked_up_beside_the_file(void **state) {
    char dir[] = "/tmp/baton-config-XXXXXX", path[64], model[64];
    struct bt_config *c;
    struct bt_buf faults = BT_BUF_INIT;
    baton_error err;
    FILE *f;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x.ini", dir);
    snprintf(model, sizeof model, "%s/m.gguf", dir);
    assert_int_equal(bt_config_read(path, &c, &faults, &err), BATON_NOT_FOUND);
    assert_non_null(strstr(err.text, path));
    assert_true((f = fopen(path, "w")) && fputs("[model a]\nfile = m.gguf\n", f) >= 0 && fclose(f) == 0);
    assert_int_equal(bt_config_read(path, &c, &faults, &err), BATON_INVALID);
    assert_true((f = fopen(model, "w")) && fclose(f) == 0);
    assert_int_equal(bt_config_read(path, &c, &faults, &err), BATON_OK);
    assert_string_equal(c->models[0].file, model);
    bt_config_free(&c);
    assert_int_equal(bt_config_read(dir, &c, &faults, &err), BATON_IO);
    assert_int_equal(bt_config_read("/dev/zero", &c, &faults, &err), BATON_INVALID);
    bt_buf_free(&faults);
    unlink(path);
    unlink(model);
    rmdir(dir);
}

static void every_beginning_of_a_good_file_is_read_or_told(void **state) {
    int ok = 0;
    (void)state;
    for (size_t n = 0; n < sizeof GOOD; n++) {
        struct read r = parse_n(GOOD, n);
        ok += r.status == BATON_OK;
        done(&r);
    }
    assert_true(ok > 10);
}

static unsigned char random_byte(uint64_t seed, uint64_t at) {
    return (unsigned char)(bt_draw(seed, at) * 256);
}

/* Lines of all kinds in a random order, with random bytes put in: no crash, faults of bounded length, and what is read
 * without a fault is written and read the same. */
static void random_files_break_nothing(void **state) {
    static const char *const LINES[] = {
        "[model a]\n",
        "[model b]\n",
        "file = fake:len=1\n",
        "queue = 4\n",
        "[role r]\n",
        "models = a, b\n",
        "[work]\n",
        "workers = 2\r\n",
        "[serve]\n",
        "port = 0 ;\n",
        "  ctx = 512\n",
        "# x\n",
        "[role s]\n",
        "models = r\n",
        "[defaults]\n",
        "[",
        "= ;",
        "\\",
    };
    uint64_t seed = bt_test_seed(), at = 0;
    int good = 0;
    (void)state;
    for (int round = 0; round < 4000; round++) {
        struct bt_buf text = BT_BUF_INIT;
        int lines = (int)(bt_draw(seed, at++) * 8), broken = (int)(bt_draw(seed, at++) * 3);
        if (bt_draw(seed, at++) < 0.5) /* else there is hardly ever one that is whole */
            bt_buf_adds(&text, "[model whole]\nfile = fake:len=2\n");
        for (int i = 0; i < lines; i++)
            bt_buf_adds(&text, LINES[(size_t)(bt_draw(seed, at++) * (double)BT_COUNT(LINES))]);
        for (int i = 0; i < broken && text.len > 0; i++) {
            size_t where = (size_t)(bt_draw(seed, at++) * (double)text.len);
            text.data[where] = random_byte(seed, at++);
        }
        struct read r = parse_n(text.data ? (const char *)text.data : "", text.len);
        assert_true(r.faults.len < 64 * 1200);
        if (r.status == BATON_OK) {
            struct bt_buf once = written(&r);
            struct read again = parse_n((const char *)once.data, once.len);
            assert_string_equal((const char *)again.faults.data, "");
            bt_buf_free(&once);
            done(&again);
            good++;
        }
        bt_buf_free(&text);
        done(&r);
    }
    assert_true(good > 20);
    struct bt_buf noise = BT_BUF_INIT;
    for (int i = 0; i < 200000; i++) {
        unsigned char c = random_byte(seed, at++);
        bt_buf_add(&noise, c < 10 ? (const void *)"\n" : &c, 1);
    }
    struct read r = parse_n((const char *)noise.data, noise.len);
    assert_true(told(&r, "there are more faults"));
    bt_buf_free(&noise);
    done(&r);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_understood),
        cmocka_unit_test(a_model_becomes_the_parameters_of_a_front),
        cmocka_unit_test(a_model_of_speech_is_opened_as_one_that_hears),
        cmocka_unit_test(a_model_of_images_is_opened_as_one_that_draws),
        cmocka_unit_test(what_is_written_reads_the_same),
        cmocka_unit_test(probe_P62_faults_name_line_found_and_expected),
        cmocka_unit_test(probe_P62_what_comes_twice_is_a_fault),
        cmocka_unit_test(probe_P62_lines_that_make_no_sense_are_faults),
        cmocka_unit_test(an_indented_line_is_a_key_and_not_more_of_the_last),
        cmocka_unit_test(long_names_and_long_lines_are_whole_or_told),
        cmocka_unit_test(roles_lead_somewhere_and_never_to_themselves),
        cmocka_unit_test(what_does_not_belong_together_is_a_fault),
        cmocka_unit_test(files_are_looked_up_beside_the_file),
        cmocka_unit_test(every_beginning_of_a_good_file_is_read_or_told),
        cmocka_unit_test(random_files_break_nothing),
    };
    return bt_test_run(tests, argc, argv);
}
