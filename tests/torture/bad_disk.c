/* A disk that fails under data.mdb, once armed: at the n-th write or sync from then on, as the control file says.
 *
 * EIO_WRITE, EIO_SYNC: that call and all later ones of its kind fail. POWER_CUT: the call is done by half, then every
 * 512-byte sector written since the last sync that was answered gets its old content back or not, at random, and the
 * process is killed: what a power cut leaves. Sectors themselves are never torn: disks promise that much. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { EIO_WRITE = 1, EIO_SYNC = 2, POWER_CUT = 3 };
enum { SECTOR = 512, KEPT = 1 << 16 };

struct control { int32_t armed, calls, action, hits; int64_t offset_ns; };
struct old { off_t at; char bytes[SECTOR]; };

static volatile struct control *control;
static struct old *olds; /* of sectors not yet synced, oldest first */
static int held;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_msync)(void *, size_t, int);

__attribute__((constructor)) static void begin(void) {
    if (control != NULL) return;
    int file = open(getenv("SHIM_CONTROL"), O_RDWR | O_CLOEXEC);
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    real_writev = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_msync = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");
    olds = malloc(KEPT * sizeof *olds);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (control == MAP_FAILED || olds == NULL || real_pwrite == NULL || real_writev == NULL) abort();
}

static void link_of(int file, char link[64]) {
    char digits[12];
    int count = 0, at = 14;
    strcpy(link, "/proc/self/fd/");
    do { digits[count++] = '0' + file % 10; } while ((file /= 10) != 0);
    while (count > 0) link[at++] = digits[--count];
    link[at] = 0;
}

static int is_store(int file) {
    char link[64], name[4096];
    int saved = errno;
    link_of(file, link);
    ssize_t length = readlink(link, name, sizeof name - 1);
    errno = saved;
    if (length < 9) return 0;
    name[length] = 0;
    return strcmp(name + length - 9, "/data.mdb") == 0;
}

/* True when this call, of a write or of a sync, is the one to fail or comes after it. */
static int strikes(int is_sync) {
    if (!control->armed) return 0;
    if (control->action == EIO_WRITE && is_sync) return 0;
    if (control->action == EIO_SYNC && !is_sync) return 0;
    if (control->calls > 0) {
        control->calls--;
        return 0;
    }
    control->hits++;
    return 1;
}

static void remember(int file, size_t length, off_t at) {
    char link[64];
    link_of(file, link); /* one of LMDB's descriptors is write-only: read by a name of its own */
    int reader = open(link, O_RDONLY | O_CLOEXEC);
    if (reader < 0) abort();
    for (off_t sector = at / SECTOR * SECTOR; sector < at + (off_t)length; sector += SECTOR) {
        if (held == KEPT) abort();
        olds[held].at = sector;
        memset(olds[held].bytes, 0, SECTOR);
        if (pread(reader, olds[held].bytes, SECTOR, sector) < 0) abort();
        held++;
    }
    close(reader);
}

static void cut_power(int file) {
    unsigned seed = (unsigned)getpid() ^ (unsigned)held;
    while (held > 0) { /* newest first, so that the oldest content wins where a sector was written twice */
        held--;
        if (rand_r(&seed) % 2) real_pwrite(file, olds[held].bytes, SECTOR, olds[held].at);
    }
    kill(getpid(), SIGKILL);
    pause();
}

static int is_durable_at_once(int file) { return fcntl(file, F_GETFL) & O_DSYNC; }

static ssize_t write_one(int file, const void *data, size_t length, off_t at) {
    if (control->action == POWER_CUT || control->action == 0) remember(file, length, at);
    if (strikes(0)) {
        if (control->action == EIO_WRITE) {
            errno = EIO;
            return -1;
        }
        real_pwrite(file, data, length / 2 / SECTOR * SECTOR, at);
        cut_power(file);
    }
    ssize_t written = real_pwrite(file, data, length, at);
    if (is_durable_at_once(file)) held = 0;
    return written;
}

ssize_t pwrite64(int file, const void *data, size_t length, off_t at) {
    begin();
    if (!is_store(file)) return real_pwrite(file, data, length, at);
    pthread_mutex_lock(&lock);
    ssize_t written = write_one(file, data, length, at);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t at) { return pwrite64(file, data, length, at); }

/* What LMDB built without pwritev uses: lseek, then this. */
ssize_t writev(int file, const struct iovec *parts, int count) {
    begin();
    if (!is_store(file)) return real_writev(file, parts, count);
    size_t length = 0, taken = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    char *whole = malloc(length);
    if (whole == NULL) abort();
    for (int i = 0; i < count; i++) {
        memcpy(whole + taken, parts[i].iov_base, parts[i].iov_len);
        taken += parts[i].iov_len;
    }
    ssize_t written = pwrite64(file, whole, length, lseek(file, 0, SEEK_CUR));
    if (written > 0) lseek(file, written, SEEK_CUR);
    free(whole);
    return written;
}

static int sync_by(int (*real)(int), int file) {
    if (!is_store(file)) return real(file);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (strikes(1)) {
        if (control->action == POWER_CUT) cut_power(file);
        errno = EIO;
    } else {
        result = real(file);
        held = 0;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int file) {
    begin();
    return sync_by(real_fdatasync, file);
}

int fsync(int file) {
    begin();
    return sync_by(real_fsync, file);
}

int msync(void *data, size_t length, int flags) {
    begin();
    if (control->action == EIO_SYNC && strikes(1)) {
        errno = EIO;
        return -1;
    }
    return real_msync(data, length, flags);
}
