/* The files of a model: looked at before libllama gets them, and loaded from descriptors. State: none. */
#include "native/llama_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

baton_status bt_llama_check_file(const char *path, int fd, baton_error *err) {
    char magic[4] = "";
    struct stat st;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    ssize_t n = regular ? pread(fd, magic, sizeof magic, 0) : 0;
    if (!regular)
        return bt_fail(err, BATON_BAD_MODEL, "%s is not a file: give the path of a GGUF file", path);
    if (n != sizeof magic || memcmp(magic, "GGUF", sizeof magic) != 0)
        return bt_fail(err, BATON_BAD_MODEL, "%s is not a GGUF file (it does not begin with \"GGUF\")", path);
    return BATON_OK;
}

static const char a_model[] = "model";

static baton_status open_file(const char *what, const char *path, int *fd, baton_error *err) {
    bool model = what == a_model;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for a writer */
    if (*fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return bt_fail(err, BATON_NOT_FOUND, "there is no %s file %s: give the path of %s", what, path,
                       model ? "a GGUF file, or none for the built-in model"
                             : "the model's projector (\"mmproj\"), a GGUF file");
    if (*fd < 0)
        return bt_fail(err, BATON_IO, "the %s file %s cannot be opened: %s", what, path, strerror(errno));
    baton_status status = bt_llama_check_file(path, *fd, err);
    if (status)
        close(*fd);
    return status;
}

baton_status bt_llama_check_path(const char *path, baton_error *err) {
    int fd;
    baton_status status = open_file(a_model, path, &fd, err);
    if (!status)
        close(fd);
    return status;
}

baton_status bt_mmproj_file_open(const char *path, int *fd, baton_error *err) {
    return open_file("projector", path, fd, err);
}

/* NAME-00001-of-00003.gguf: which piece of how many; false: it is not called so. */
static bool is_piece(const char *path, int *piece, int *pieces, int *prefix) {
    size_t len = strlen(path);
    int read = 0;
    if (len < strlen("-00001-of-00003.gguf"))
        return false;
    *prefix = (int)(len - strlen("-00001-of-00003.gguf"));
    return sscanf(path + *prefix, "-%5d-of-%5d.gguf%n", piece, pieces, &read) == 2 &&
           read == (int)strlen("-00001-of-00003.gguf") && *piece > 0 && *pieces > 0;
}

static void close_all(const int *fds, size_t n) {
    while (n-- > 0)
        close(fds[n]);
}

baton_status bt_model_files_open(const char *path, int *fds, size_t max, size_t *n, baton_error *err) {
    int piece, pieces = 1, prefix = 0;
    baton_status status = BATON_OK;
    *n = 0;
    if (path && strncmp(path, "fake:", 5) == 0)
        return BATON_OK;
    if (!path && (status = bt_builtin_model(&path, err)))
        return status;
    bool split = is_piece(path, &piece, &pieces, &prefix);
    if (split && piece != 1)
        return bt_fail(err, BATON_BAD_MODEL, "%s is piece %d of %d: give the first, %.*s-00001-of-%05d.gguf", path,
                       piece, pieces, prefix, path, pieces);
    if ((size_t)pieces > max)
        return bt_fail(err, BATON_TOO_LONG, "%s has %d pieces and %zu are possible: merge them", path, pieces, max);
    while (*n < (size_t)pieces && !status) {
        char name[PATH_MAX];
        if (split && snprintf(name, sizeof name, "%.*s-%05zu-of-%05d.gguf", prefix, path, *n + 1, pieces) >= PATH_MAX)
            status = bt_fail(err, BATON_TOO_LONG, "the path %.80s... is too long", path);
        else
            status = open_file(a_model, split ? name : path, &fds[*n], err);
        *n += status == BATON_OK;
    }
    if (status) {
        close_all(fds, *n);
        *n = 0;
    }
    return status;
}

/* libllama takes pieces by path only. */
static struct llama_model *load_pieces(const int *files, size_t n, struct llama_model_params params) {
    enum { ROOM = 32 };
    char(*names)[ROOM] = calloc(n, sizeof *names);
    const char **paths = calloc(n, sizeof *paths);
    struct llama_model *model = NULL;
    for (size_t i = 0; names && paths && i < n; i++) {
        snprintf(names[i], sizeof names[i], "/proc/self/fd/%d", files[i]);
        paths[i] = names[i];
    }
    if (names && paths)
        model = llama_model_load_from_splits(paths, n, params);
    free(paths);
    free(names);
    return model;
}

FILE *bt_llama_reopen(int file) {
    int own = fcntl(file, F_DUPFD_CLOEXEC, 0);
    FILE *f = own >= 0 ? fdopen(own, "rb") : NULL;
    if (!f && own >= 0)
        close(own);
    if (f)
        rewind(f);
    return f;
}

struct llama_model *bt_llama_load_files(const int *files, size_t n, struct llama_model_params params) {
    if (n > 1)
        return load_pieces(files, n, params);
    FILE *file = bt_llama_reopen(files[0]);
    if (!file)
        return NULL;
    struct llama_model *model = llama_model_load_from_file_ptr(file, params);
    fclose(file); /* what is mapped stays so */
    return model;
}
