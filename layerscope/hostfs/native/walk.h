/* What lies in trees, counted without Python: the kernel's answers, added up.
 *
 * Directories are opened by their names in another, nothing is followed, nothing decided: what needs a closer look is
 * kept for the caller.
 */
#ifndef LAYERSCOPE_WALK_H
#define LAYERSCOPE_WALK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define MOST_OPEN 128

/* Bytes that grow. */
typedef struct {
    char *data;
    size_t length, room;
} Buffer;

/* An entry that the caller must look at; its directory's path and its name are in the buffer of names. */
typedef struct {
    uint64_t mode, inode, device, links, blocks;
    int64_t size;
    int why; /* an error of the kernel, or one of those below */
} Apart;

#define SEVERAL_NAMES 0
#define OTHER_DEVICE (-1)

/* A directory that is open because directories in it are still to be read. */
typedef struct {
    int fd;
    Buffer names; /* of those directories, each with its NUL */
    size_t next;  /* where in these the next one begins */
    size_t path_length;
} Frame;

typedef struct {
    int crosses, marked;
    dev_t wanted, device; /* that of what is counted: as the caller said, and in the directory that is read */
    int64_t budget;
    int64_t entries, blocks, size, folder_size, symlink_size, vanished;
    Frame frames[MOST_OPEN + 1];
    int depth;
    Frame current; /* the directory that is read; its descriptor is -1 where there is none */
    Buffer path;   /* that of the directory that is read; those of all frames are beginnings of it */
    Buffer folders, stamps, apart, apart_names;
    int no_memory;
} Walk;

/* Append bytes; what there is no memory for is told by `no_memory`. */
void walk_append(Walk *walk, Buffer *buffer, const void *data, size_t length);

/* Open the directory at the walk's path below `root`, one component after the other, as the first frame, whose names are
 * those to begin with; false where that can't be. */
int walk_begin(Walk *walk, int root);

/* Go on for a while; false where nothing is left to do, or what is left is for another time. */
int walk_on(Walk *walk);

/* Close and free everything. */
void walk_end(Walk *walk);

/* Write inode and change time of each name in a directory, of which the last ends at `end`; false where one is missing
 * or of another device. */
int write_stamps(char *target, int fd, dev_t device, const char *name, const char *end);

#endif
