/* A library named like a compute backend, as a stranger could leave it in the current directory. It tells when it is
 * loaded: by then its code has run. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
    close(open("stranger-was-loaded", O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
}
