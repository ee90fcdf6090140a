/* UTC, wrong by so many nanoseconds as the control file says; every other clock is right. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control { int32_t armed, calls, action, hits; int64_t offset_ns; };

static volatile struct control *control;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("SHIM_CONTROL"), O_RDWR | O_CLOEXEC);
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (control == MAP_FAILED || real == NULL) abort();
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (control == NULL) begin(); /* another library's constructor came first */
    int result = real(clock, at);
    if (result == 0 && clock == CLOCK_REALTIME) {
        int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + control->offset_ns;
        at->tv_sec = ns / 1000000000;
        at->tv_nsec = ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL) *at = now.tv_sec;
    return now.tv_sec;
}
