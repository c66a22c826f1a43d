/* A disk that is full while a file exists. Preloaded into PostgreSQL by a test: what would make a file
 * longer fails with ENOSPC as long as the file that DISK_FULL_WHILE names is there; what overwrites does
 * not, as on a real disk. Built without sanitizers, since the server has none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(void) {
  static const char* trigger;
  if (trigger == NULL) trigger = getenv("DISK_FULL_WHILE");
  return trigger != NULL && access(trigger, F_OK) == 0;
}

/* Only files have a disk; pipes and sockets have not. */
static int refuses(int fd, off_t at, size_t size) {
  struct stat file;
  const int error = errno;
  const int refused =
      is_full() && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && at + (off_t)size > file.st_size;
  errno = refused ? ENOSPC : error;
  return refused;
}

static size_t bytes_of(const struct iovec* parts, int count) {
  size_t size = 0;
  for (int n = 0; n < count; ++n) size += parts[n].iov_len;
  return size;
}

ssize_t write(int fd, const void* data, size_t size) {
  static ssize_t (*next)(int, const void*, size_t);
  if (next == NULL) next = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  const off_t at = lseek(fd, 0, SEEK_CUR);
  if (at >= 0 && refuses(fd, at, size)) return -1;
  return next(fd, data, size);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  static ssize_t (*next)(int, const void*, size_t, off64_t);
  if (next == NULL) next = (ssize_t(*)(int, const void*, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
  return refuses(fd, at, size) ? -1 : next(fd, data, size, at);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  return pwrite64(fd, data, size, at);
}

ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t at) {
  static ssize_t (*next)(int, const struct iovec*, int, off64_t);
  if (next == NULL)
    next = (ssize_t(*)(int, const struct iovec*, int, off64_t))dlsym(RTLD_NEXT, "pwritev64");
  return refuses(fd, at, bytes_of(parts, count)) ? -1 : next(fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t at) {
  return pwritev64(fd, parts, count, at);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
  static int (*next)(int, off64_t, off64_t);
  if (next == NULL) next = (int (*)(int, off64_t, off64_t))dlsym(RTLD_NEXT, "posix_fallocate64");
  return refuses(fd, at, (size_t)size) ? ENOSPC : next(fd, at, size);
}

int posix_fallocate(int fd, off_t at, off_t size) { return posix_fallocate64(fd, at, size); }
