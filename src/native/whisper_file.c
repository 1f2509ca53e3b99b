/* The structure of a model file of whisper.cpp, read through before libwhisper sees it: libwhisper does not notice a
 * file that is cut off inside a tensor (it computes with what was in memory), leaks the weights of one that it refuses,
 * and answers a vocabulary without " " with a C++ exception in the middle of a transcription. Owns no state. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "native/whisper_internal.h"

enum { WORD_MAX = 1024, VOCAB_ENGLISH = 51864, VOCAB_LARGE_V3 = 51866 };

struct reader {
    FILE *in;
    const char *path;
    uint64_t size, at;
    baton_error *err;
};

/* As whisper.cpp writes them. */
struct shape {
    int32_t vocab, audio_ctx, audio_state, audio_head, audio_layer;
    int32_t text_ctx, text_state, text_head, text_layer, mels, ftype;
};

static bool take(struct reader *r, void *out, size_t n) {
    if (fread(out, 1, n, r->in) == n) {
        r->at += n;
        return true;
    }
    bt_fail(r->err, BATON_BAD_MODEL, "%s is cut off: it ends at byte %llu, and more is to come there", r->path,
            (unsigned long long)r->size);
    return false;
}

static bool skip(struct reader *r, uint64_t n) {
    if (n <= r->size - r->at && fseeko(r->in, (off_t)n, SEEK_CUR) == 0) {
        r->at += n;
        return true;
    }
    bt_fail(r->err, BATON_BAD_MODEL, "%s is cut off: %llu bytes are to follow byte %llu, and the file has %llu",
            r->path, (unsigned long long)n, (unsigned long long)r->at, (unsigned long long)r->size);
    return false;
}

static bool bad(const struct reader *r, const char *what, int64_t value) {
    bt_fail(r->err, BATON_BAD_MODEL, "%s is no sound whisper model: %s is %lld", r->path, what, (long long)value);
    return false;
}

/* Those that whisper.cpp's own tools write; ggml answers others with an assertion. */
static bool known_type(int32_t ftype) {
    enum { VERSIONS = 1000 /* of the quantisation, times this */ };
    int32_t t = ftype % VERSIONS;
    return ftype >= 0 && (t <= GGML_FTYPE_MOSTLY_Q4_1 || (t >= GGML_FTYPE_MOSTLY_Q8_0 && t <= GGML_FTYPE_MOSTLY_Q6_K));
}

static bool check_shape(struct reader *r, struct shape *s) {
    enum { DIM_MAX = 1 << 16 };
    if (!take(r, s, sizeof *s))
        return false;
    const struct {
        const char *what;
        int32_t value;
    } dims[] = {{"the audio context", s->audio_ctx},
                {"the width", s->audio_state},
                {"the number of audio heads", s->audio_head},
                {"the number of audio layers", s->audio_layer},
                {"the text context", s->text_ctx},
                {"the text width", s->text_state},
                {"the number of text heads", s->text_head},
                {"the number of text layers", s->text_layer},
                {"the number of mels", s->mels}};
    for (size_t i = 0; i < BT_COUNT(dims); i++)
        if (dims[i].value < 1 || dims[i].value > DIM_MAX)
            return bad(r, dims[i].what, dims[i].value);
    if (s->text_state != s->audio_state)
        return bad(r, "the text width, unlike the width,", s->text_state);
    if (s->audio_state % s->audio_head)
        return bad(r, "the number of audio heads, which does not divide the width,", s->audio_head);
    if (s->text_state % s->text_head)
        return bad(r, "the number of text heads, which does not divide the width,", s->text_head);
    if (!known_type(s->ftype))
        return bad(r, "the file type", s->ftype);
    if (s->vocab >= VOCAB_ENGLISH && s->vocab <= VOCAB_LARGE_V3)
        return true;
    bt_fail(r->err, BATON_UNSUPPORTED,
            "%s has %d tokens: libwhisper knows the special tokens of vocabularies of %d to %d only", r->path, s->vocab,
            VOCAB_ENGLISH, VOCAB_LARGE_V3);
    return false;
}

static bool check_filters(struct reader *r, const struct shape *s) {
    int32_t dims[2];
    if (!take(r, dims, sizeof dims))
        return false;
    if (dims[0] != s->mels)
        return bad(r, "the number of mel filters, unlike that of mels,", dims[0]);
    if (dims[1] != 1 + WHISPER_N_FFT / 2)
        return bad(r, "the length of a mel filter", dims[1]);
    return skip(r, sizeof(float) * (uint64_t)dims[0] * (uint64_t)dims[1]);
}

static bool check_vocabulary(struct reader *r, const struct shape *s) {
    int32_t n;
    bool blank = false;
    if (!take(r, &n, sizeof n))
        return false;
    if (n < 1 || n > s->vocab)
        return bad(r, "the number of words", n);
    for (int32_t i = 0; i < n; i++) {
        char word[WORD_MAX];
        uint32_t len;
        if (!take(r, &len, sizeof len))
            return false;
        if (len > sizeof word)
            return bad(r, "the length of a word", len);
        if (!take(r, word, len))
            return false;
        blank |= len == 1 && word[0] == ' ';
    }
    if (blank)
        return true;
    bt_fail(
        r->err, BATON_BAD_MODEL,
        "%s has no \" \" in its vocabulary: libwhisper would end this process with an exception, when it looks for it",
        r->path);
    return false;
}

static bool check_tensor(struct reader *r) {
    int32_t head[3], dims[4] = {1, 1, 1, 1};
    if (!take(r, head, sizeof head))
        return false;
    int32_t n_dims = head[0], name_len = head[1], type = head[2];
    if (n_dims < 1 || n_dims > 4)
        return bad(r, "a tensor's number of dimensions", n_dims);
    if (name_len < 1 || name_len > WORD_MAX)
        return bad(r, "the length of a tensor's name", name_len);
    if (type < 0 || type >= GGML_TYPE_COUNT || ggml_blck_size((enum ggml_type)type) <= 0)
        return bad(r, "a tensor's type", type);
    if (!take(r, dims, sizeof dims[0] * (size_t)n_dims) || !skip(r, (uint64_t)name_len))
        return false;
    uint64_t elements = 1;
    for (int i = 0; i < n_dims; i++) {
        if (dims[i] < 1)
            return bad(r, "a tensor's dimension", dims[i]);
        elements *= (uint64_t)dims[i];
        if (elements > INT32_MAX)
            return bad(r, "the number of a tensor's elements", (int64_t)elements);
    }
    uint64_t block = (uint64_t)ggml_blck_size((enum ggml_type)type);
    if (elements % block)
        return bad(r, "the number of a tensor's elements, no multiple of its block,", (int64_t)elements);
    return skip(r, elements / block * ggml_type_size((enum ggml_type)type));
}

static bool check_all(struct reader *r, struct bt_whisper_info *info) {
    struct shape s;
    uint32_t magic;
    if (r->size < sizeof magic || !take(r, &magic, sizeof magic) || magic != GGML_FILE_MAGIC) {
        bt_fail(r->err, BATON_BAD_MODEL,
                "%s is not a whisper model (it does not begin with \"lmgg\"): give a file in whisper.cpp's format, "
                "\"ggml-base.en.bin\", not a GGUF or PyTorch file",
                r->path);
        return false;
    }
    if (!check_shape(r, &s) || !check_filters(r, &s) || !check_vocabulary(r, &s))
        return false;
    if (r->at == r->size) {
        /* libwhisper takes this for one of its own tests, and leaves the weights uninitialised */
        bt_fail(r->err, BATON_BAD_MODEL, "%s has no weights", r->path);
        return false;
    }
    int64_t tensors = 0, expected = 11 + 15 * (int64_t)s.audio_layer + 24 * (int64_t)s.text_layer;
    for (; r->at < r->size; tensors++)
        if (!check_tensor(r))
            return false;
    if (tensors != expected) {
        bt_fail(r->err, BATON_BAD_MODEL, "%s is cut off, or no whisper model: it has %lld tensors of %lld", r->path,
                (long long)tensors, (long long)expected);
        return false;
    }
    *info = (struct bt_whisper_info){.vocab_size = s.vocab, .mels = s.mels, .bytes = r->size};
    return true;
}

baton_status bt_whisper_check_file(const char *path, const int *file, struct bt_whisper_info *info, baton_error *err) {
    baton_error mine = {.status = BATON_OK};
    struct stat st;
    int fd = file ? fcntl(*file, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return bt_fail(err, BATON_NOT_FOUND, "there is no model file %s: give the path of a whisper.cpp model", path);
    if (fd < 0)
        return bt_fail(err, BATON_IO, "the model file %s cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return bt_fail(err, BATON_BAD_MODEL, "%s is not a file: give the path of a whisper.cpp model", path);
    }
    FILE *in = fdopen(fd, "rb");
    if (!in) {
        close(fd);
        return bt_fail(err, BATON_NO_MEMORY, "no memory to read %s", path);
    }
    rewind(in);
    struct reader r = {.in = in, .path = path, .size = (uint64_t)st.st_size, .err = &mine};
    bool sound = check_all(&r, info);
    fclose(in);
    return sound ? BATON_OK : bt_fail(err, mine.status, "%s", mine.text);
}
