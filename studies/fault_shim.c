/* Makes one call of a process fail, for fault_study.py: LD_PRELOAD this library.

   Calls count that change files below FAULT_FOLDER. FAULT_LOG gets a line for each of them.
   FAULT_AT       which call fails, from 1
   FAULT_KIND     error: FAULT_ERRNO is its error; short: a write writes half; kill: SIGKILL before it
   FAULT_FOREVER  if set, all later calls fail as well
   Only the first process counts, not its children. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
enum outcome { PASS, FAIL, SHORT };

static int calls;
static pid_t owner;

static void note(const char *name, const char *path) {
    const char *log = getenv("FAULT_LOG");
    if (!log) return;
    int descriptor = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (descriptor < 0) return;
    char line[4200];
    int length = snprintf(line, sizeof line, "%s %s\n", name, path);
    if (REAL(write)(descriptor, line, length) < 0) abort();
    REAL(close)(descriptor);
}

static enum outcome next(const char *name, const char *path) {
    const char *folder = getenv("FAULT_FOLDER"), *kind = getenv("FAULT_KIND");
    if (!folder || !path || strncmp(path, folder, strlen(folder)) != 0) return PASS;
    if (!owner) owner = getpid();
    if (owner != getpid()) return PASS;
    calls++;
    note(name, path);
    int at = getenv("FAULT_AT") ? atoi(getenv("FAULT_AT")) : 0;
    if (!kind || !at || calls < at || (calls > at && !getenv("FAULT_FOREVER"))) return PASS;
    if (!strcmp(kind, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(kind, "short")) return SHORT;
    errno = atoi(getenv("FAULT_ERRNO"));
    return FAIL;
}

static const char *path_of(int descriptor) {
    static char path[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return path;
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    enum outcome outcome = descriptor > 2 ? next("write", path_of(descriptor)) : PASS;
    if (outcome == FAIL) return -1;
    return REAL(write)(descriptor, bytes, outcome == SHORT && count > 1 ? count / 2 : count);
}

int close(int descriptor) {
    enum outcome outcome = descriptor > 2 ? next("close", path_of(descriptor)) : PASS;
    int error = errno, result = REAL(close)(descriptor);
    if (outcome != FAIL) return result;
    errno = error;
    return -1;
}

#define OPENER(name)                                                                         \
    int name(const char *path, int flags, ...) {                                             \
        va_list rest;                                                                        \
        va_start(rest, flags);                                                               \
        mode_t mode = va_arg(rest, mode_t);                                                  \
        va_end(rest);                                                                        \
        int changes = flags & (O_WRONLY | O_RDWR | O_CREAT);                                 \
        if (changes && next("open", path) == FAIL) return -1;                                \
        return REAL(name)(path, flags, mode);                                                \
    }
OPENER(open)
OPENER(open64)

#define ON_DESCRIPTOR(name, parameters, ...)                                                 \
    int name parameters {                                                                    \
        if (next(#name, path_of(descriptor)) == FAIL) return -1;                             \
        return REAL(name)(__VA_ARGS__);                                                      \
    }
ON_DESCRIPTOR(fsync, (int descriptor), descriptor)
ON_DESCRIPTOR(fdatasync, (int descriptor), descriptor)
ON_DESCRIPTOR(ftruncate, (int descriptor, off_t length), descriptor, length)
ON_DESCRIPTOR(ftruncate64, (int descriptor, off64_t length), descriptor, length)

#define ON_PATH(name, parameters, ...)                                                       \
    int name parameters {                                                                    \
        if (next(#name, path) == FAIL) return -1;                                            \
        return REAL(name)(__VA_ARGS__);                                                      \
    }
ON_PATH(unlink, (const char *path), path)
ON_PATH(rmdir, (const char *path), path)
ON_PATH(mkdir, (const char *path, mode_t mode), path, mode)
ON_PATH(rename, (const char *path, const char *target), path, target)
ON_PATH(link, (const char *path, const char *target), path, target)
int linkat(int from, const char *path, int to, const char *target, int flags) {
    if (next("link", path) == FAIL) return -1;
    return REAL(linkat)(from, path, to, target, flags);
}
