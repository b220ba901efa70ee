#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_BYTES 32768
#define STEPS 20000
#define ENTRIES 20000
#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
#define NS_PER_SECOND UINT64_C(1000000000)

void
walk_append(Walk *walk, Buffer *buffer, const void *data, size_t length)
{
    if (buffer->room - buffer->length < length) {
        size_t room = (buffer->room + length) * 2;
        char *moved = realloc(buffer->data, room);
        if (moved == NULL) {
            walk->no_memory = 1;
            return;
        }
        buffer->data = moved;
        buffer->room = room;
    }
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

static uint64_t
changed_ns_of(const struct stat *stat)
{
    return (uint64_t)stat->st_ctim.tv_sec * NS_PER_SECOND + (uint64_t)stat->st_ctim.tv_nsec;
}

/* Keep an entry for the caller; it lies in the directory whose path has that length. */
static void
set_apart(Walk *walk, int why, size_t path_length, const char *name, const struct stat *stat)
{
    Apart one = {stat->st_mode,  stat->st_ino,    stat->st_dev, stat->st_nlink,
                 stat->st_blocks, stat->st_size, why};
    walk_append(walk, &walk->apart, &one, sizeof one);
    walk_append(walk, &walk->apart_names, walk->path.data, path_length);
    walk_append(walk, &walk->apart_names, "", 1);
    walk_append(walk, &walk->apart_names, name, strlen(name) + 1);
}

static void
count(Walk *walk, const char *name, const struct stat *stat)
{
    int folder = S_ISDIR(stat->st_mode);

    if (stat->st_dev != walk->device) {
        set_apart(walk, OTHER_DEVICE, walk->path.length, name, stat);
        return;
    }
    if (!folder && stat->st_nlink > 1 && (stat->st_size || stat->st_blocks)) {
        set_apart(walk, SEVERAL_NAMES, walk->path.length, name, stat);
        return;
    }
    walk->entries++;
    walk->blocks += stat->st_blocks;
    walk->size += stat->st_size;
    if (S_ISLNK(stat->st_mode))
        walk->symlink_size += stat->st_size;
    if (folder) {
        walk->folder_size += stat->st_size;
        walk_append(walk, &walk->current.names, name, strlen(name) + 1);
        if (walk->marked) {
            uint64_t stamp[2] = {stat->st_ino, changed_ns_of(stat)};
            walk_append(walk, &walk->stamps, stamp, sizeof stamp);
        }
    }
}

static int
open_directory(int parent, const char *name)
{
    int fd = openat(parent, name, OPEN_FLAGS | O_NOATIME);
    return fd < 0 && errno == EPERM ? openat(parent, name, OPEN_FLAGS) : fd;
}

/* Tell of the directory that was just entered why it was not read, or not to its end. */
static void
tell_closed(Walk *walk, int error)
{
    const Frame *above = &walk->frames[walk->depth - 1];
    const char *name = walk->path.data + above->path_length + (above->path_length > 0);
    struct stat stat;

    walk_append(walk, &walk->path, "", 1);
    walk->path.length--;
    if (walk->no_memory)
        return;
    if (fstatat(above->fd, name, &stat, AT_SYMLINK_NOFOLLOW) != 0)
        stat = (struct stat){0};
    set_apart(walk, error, above->path_length, name, &stat);
}

/* Begin with the next directory of the last frame. */
static void
enter(Walk *walk)
{
    Frame *above = &walk->frames[walk->depth - 1];
    const char *name = above->names.data + above->next;

    above->next += strlen(name) + 1;
    walk->path.length = above->path_length;
    if (above->path_length > 0)
        walk_append(walk, &walk->path, "/", 1);
    walk_append(walk, &walk->path, name, strlen(name));
    if (walk->no_memory)
        return;
    walk->current = (Frame){.fd = open_directory(above->fd, name), .path_length = walk->path.length};
    if (walk->current.fd < 0)
        tell_closed(walk, errno);
    else if (walk->depth == 1) {
        struct stat stat;
        walk->device = walk->crosses && fstat(walk->current.fd, &stat) == 0 ? stat.st_dev : walk->wanted;
    }
}

/* Count the next entries of the directory that is read; false after the last of them. */
static int
read_batch(Walk *walk)
{
    _Alignas(struct dirent64) char batch[BATCH_BYTES];
    ssize_t length = getdents64(walk->current.fd, batch, sizeof batch);

    if (length < 0)
        tell_closed(walk, errno);
    for (ssize_t at = 0; at < length;) {
        const struct dirent64 *entry = (const struct dirent64 *)(batch + at);
        const char *name = entry->d_name;
        struct stat stat;

        at += entry->d_reclen;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(walk->current.fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0)
            count(walk, name, &stat);
        else if (errno == EACCES) {
            tell_closed(walk, errno);
            return 0;
        }
        else
            walk->vanished++;
    }
    return length > 0 && !walk->no_memory;
}

static void
leave(Frame *frame)
{
    if (frame->fd >= 0)
        close(frame->fd);
    free(frame->names.data);
    *frame = (Frame){.fd = -1};
}

/* The directory was read: keep it as long as there are others in it. */
static void
keep(Walk *walk)
{
    if (walk->current.names.length == 0) {
        leave(&walk->current);
        return;
    }
    if (walk->marked) {
        walk_append(walk, &walk->folders, walk->path.data, walk->path.length);
        walk_append(walk, &walk->folders, "", 1);
        walk_append(walk, &walk->folders, walk->current.names.data, walk->current.names.length);
        walk_append(walk, &walk->folders, "", 1);
    }
    walk->frames[walk->depth++] = walk->current;
    walk->current = (Frame){.fd = -1};
}

/* Do the next thing that is to do; false where there is none, or what is left is for another time. */
static int
step(Walk *walk)
{
    Frame *last = &walk->frames[walk->depth - 1];

    if (walk->no_memory)
        return 0;
    if (walk->current.fd >= 0) {
        if (!read_batch(walk))
            keep(walk);
        return 1;
    }
    if (last->next < last->names.length) {
        if (walk->entries >= walk->budget || walk->depth > MOST_OPEN)
            return 0;
        enter(walk);
        return 1;
    }
    leave(last);
    return --walk->depth > 0;
}

int
walk_begin(Walk *walk, int root)
{
    Frame *first = &walk->frames[0];
    size_t length = walk->path.length;

    walk->current.fd = -1;
    walk->depth = 1;
    first->path_length = length;
    first->fd = openat(root, ".", PATH_FLAGS);
    walk_append(walk, &walk->path, "", 1);
    walk->path.length = length;
    for (size_t at = 0; at < length && first->fd >= 0 && !walk->no_memory;) {
        char *name = walk->path.data + at, *slash = strchr(name, '/');
        if (slash != NULL)
            *slash = '\0';
        int below = openat(first->fd, name, PATH_FLAGS);
        at += strlen(name) + 1;
        if (slash != NULL)
            *slash = '/';
        close(first->fd);
        first->fd = below;
    }
    return first->fd >= 0;
}

int
walk_on(Walk *walk)
{
    int64_t entries = walk->entries + ENTRIES;
    int more = 1;

    for (int steps = 0; more && steps < STEPS && walk->entries < entries; steps++)
        more = step(walk);
    return more;
}

void
walk_end(Walk *walk)
{
    leave(&walk->current);
    while (walk->depth > 0)
        leave(&walk->frames[--walk->depth]);
    free(walk->path.data);
    free(walk->folders.data);
    free(walk->stamps.data);
    free(walk->apart.data);
    free(walk->apart_names.data);
}

int
write_stamps(char *target, int fd, dev_t device, const char *name, const char *end)
{
    for (; name <= end; name += strlen(name) + 1) {
        struct stat stat;
        if (fstatat(fd, name, &stat, AT_SYMLINK_NOFOLLOW) != 0 || stat.st_dev != device)
            return 0;
        uint64_t stamp[2] = {stat.st_ino, changed_ns_of(&stat)};
        memcpy(target, stamp, sizeof stamp);
        target += sizeof stamp;
    }
    return 1;
}
