// SPDX-License-Identifier: Apache-2.0
/* Preloaded into the sidecar by benchmarks/sidecar_cost.py: plain files answer as disks on a SCSI target would.
 *
 * A read and a SCSI command sleep as long as a target takes to answer (DISK_US, microseconds; 200 unless given), so that
 * threads change as often as with disks. PERSISTENT RESERVE IN: generation 7; key 0xABC1 and 0xABC2 on two nexuses each;
 * the first one holds Write Exclusive, Registrants Only. PERSISTENT RESERVE OUT
 * is answered with GOOD and changes nothing; no other command is known. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void answer_time(void) {
  static long us = -1;
  if (us < 0) us = getenv("DISK_US") ? atol(getenv("DISK_US")) : 200;
  struct timespec t = {0, us * 1000};
  if (us) nanosleep(&t, NULL);
}

static const unsigned char KEYS[] = {0, 0, 0, 7, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0xAB, 0xC1, 0, 0, 0, 0, 0, 0, 0xAB, 0xC1,
                                     0, 0, 0, 0, 0, 0, 0xAB, 0xC2, 0, 0, 0, 0, 0, 0, 0xAB, 0xC2};
static const unsigned char HELD[] = {0, 0, 0, 7, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0xAB, 0xC1, 0, 0, 0, 0, 0, 5, 0, 0};

int ioctl(int fd, unsigned long request, ...) {
  static int (*real)(int, unsigned long, void *);
  if (!real) real = dlsym(RTLD_NEXT, "ioctl");
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  if (request != SG_IO) return real(fd, request, argument);
  struct sg_io_hdr *io = argument;
  answer_time();
  io->status = io->masked_status = io->host_status = io->driver_status = io->sb_len_wr = io->info = 0;
  io->resid = 0;
  int is_read = io->cmdp[0] == 0x5E && (io->cmdp[1] & 0x1F) < 2;
  if (!is_read && io->cmdp[0] != 0x5F) { /* CHECK CONDITION, ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE */
    static const unsigned char SENSE[] = {0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0};
    io->status = 2;
    io->masked_status = 1;
    io->driver_status = 8;
    io->info = SG_INFO_CHECK;
    io->sb_len_wr = io->mx_sb_len < sizeof SENSE ? io->mx_sb_len : sizeof SENSE;
    memcpy(io->sbp, SENSE, io->sb_len_wr);
    return 0;
  }
  if (is_read) {
    const unsigned char *data = (io->cmdp[1] & 0x1F) == 0 ? KEYS : HELD;
    unsigned length = (io->cmdp[1] & 0x1F) == 0 ? sizeof KEYS : sizeof HELD;
    if (length > io->dxfer_len) length = io->dxfer_len;
    memcpy(io->dxferp, data, length);
    io->resid = io->dxfer_len - length;
  }
  return 0;
}

/* io_setup, io_submit, io_getevents of x86_64: all reads that were begun are answered together. */
static struct { unsigned long long data, iocb; long long result, more; } events[1024];
static long begun;

long syscall(long number, ...) {
  static long (*real)(long, ...);
  if (!real) real = dlsym(RTLD_NEXT, "syscall");
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long), d = va_arg(rest, long);
  long e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  if (number == 206) return 0;
  if (number == 209) {
    for (long i = 0; i < b && begun < 1024; i++) {
      unsigned char page[4096];
      unsigned long long *iocb = ((unsigned long long **)c)[i];
      events[begun].data = iocb[0];
      events[begun++].result = pread(((unsigned int *)iocb)[5], page, sizeof page, 0);
    }
    return b;
  }
  if (number == 208) {
    long ended = begun;
    if (ended) answer_time();
    memcpy((void *)d, events, ended * sizeof *events);
    begun = 0;
    return ended;
  }
  return real(number, a, b, c, d, e, f);
}

#define READ(name)                                                                   \
  ssize_t name(int fd, const struct iovec *where, int count, off_t at) {             \
    static ssize_t (*real)(int, const struct iovec *, int, off_t);                   \
    if (!real) real = dlsym(RTLD_NEXT, #name);                                       \
    answer_time();                                                                   \
    return real(fd, where, count, at);                                               \
  }
READ(preadv)
READ(preadv64)
#define READ2(name)                                                                  \
  ssize_t name(int fd, const struct iovec *where, int count, off_t at, int flags) {  \
    static ssize_t (*real)(int, const struct iovec *, int, off_t, int);              \
    if (!real) real = dlsym(RTLD_NEXT, #name);                                       \
    answer_time();                                                                   \
    return real(fd, where, count, at, flags);                                        \
  }
READ2(preadv2)
READ2(preadv64v2)
