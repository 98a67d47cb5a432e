/* Preloaded into the service: a disk that cannot sync as long as the file that SYNC_FAILS names exists. The lengths of
   writes to the start of a file go to the file that WRITES_TO_START names. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd) {
    if (access(getenv("SYNC_FAILS"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    if (offset == 0) {
        char line[32];
        int log = open(getenv("WRITES_TO_START"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        write(log, line, snprintf(line, sizeof line, "%zu\n", length));
        close(log);
    }
    return syscall(SYS_pwrite64, fd, bytes, length, offset);
}
