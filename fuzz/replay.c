/* Runs a fuzz target over files and the files of folders: its corpus, with any compiler. State: none. */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0)
        return fprintf(stderr, "%s cannot be read\n", path), -1;
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size + 1); /* of this very size: a sanitizer sees who reads past it */
    size_t n = data ? fread(data, 1, size, file) : 0;
    uint8_t *exact = realloc(data, size ? size : 1);
    fclose(file);
    if (n == size && exact)
        LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return n == size ? 1 : -1;
}

static int run_folder(const char *path) {
    DIR *folder = opendir(path);
    char name[4096];
    int n = 0;
    if (!folder)
        return run_file(path);
    for (struct dirent *e; (e = readdir(folder));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        int one = run_file(name);
        if (one < 0) {
            n = -1;
            break;
        }
        n += one;
    }
    closedir(folder);
    return n;
}

int main(int argc, char **argv) {
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = run_folder(argv[i]);
        if (n < 0)
            return 1;
        total += n;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1;
}
