/* The system calls whose failure a test must be able to provoke. Only tests write this. */
#ifndef KE_BASE_FAULT_H
#define KE_BASE_FAULT_H

#include <sys/statvfs.h>
#include <sys/types.h>

typedef struct ke__calls {
    ssize_t (*read)(int fd, void *data, size_t bytes);
    ssize_t (*write)(int fd, const void *data, size_t bytes);
    int (*fsync)(int fd);
    int (*link)(int from_folder, const char *from, int to_folder, const char *to,
                int flags);
    int (*rename)(int from_folder, const char *from, int to_folder, const char *to,
                  unsigned flags);
    int (*open)(const char *path, int flags, mode_t mode); /* of outputs under way */
    int (*statvfs)(const char *path, struct statvfs *disk);
} ke__calls;

extern ke__calls ke__sys;

#endif
