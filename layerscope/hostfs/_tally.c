/* The tallies of directories and the stamps of those in them, compiled: what tally.py does in Python, field for field.
 *
 * The file system's own answer to a fstatat takes a microsecond; Python's objects around it take as much again. That is
 * all that is done here: directories are opened by their names in another, nothing is followed, nothing decided. The
 * interpreter's lock is let go once for all of them, since threads that pass it on for every call only wait for each
 * other; where there are very many names it is taken now and then to look for signals.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_BYTES 32768
#define STEPS 64
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
#define NS_PER_SECOND UINT64_C(1000000000)

/* Bytes that grow. */
typedef struct {
    char *data;
    size_t length, room;
} Buffer;

/* An entry that the caller must look at; its name is in the buffer of names. */
typedef struct {
    uint64_t mode, inode, device, links, blocks, changed_ns;
    int64_t size;
} Apart;

typedef struct {
    PyObject *name;     /* bytes */
    const char *path;   /* its text */
    int begun;
    int fd;             /* of the directory; -1 where it is closed */
    dev_t device;       /* that of what is counted */
    int marked;
    int64_t entries, blocks, size, folder_size, symlink_size, vanished;
    Buffer folders;     /* names, each with its NUL */
    Buffer stamps;      /* inode and change time of each folder */
    Buffer apart_names; /* names, each with its NUL */
    Buffer apart;       /* an Apart of each */
    int error;          /* of the kernel: why the directory, or not all of it, was read */
    int no_memory;
} Tally;

static void
append(Tally *tally, Buffer *buffer, const void *data, size_t length)
{
    if (buffer->room - buffer->length < length) {
        size_t room = (buffer->room + length) * 2;
        char *moved = realloc(buffer->data, room);
        if (moved == NULL) {
            tally->no_memory = 1;
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

static void
count(Tally *tally, const char *name, const struct stat *stat)
{
    uint64_t changed_ns = changed_ns_of(stat);
    int folder = S_ISDIR(stat->st_mode);
    int has_more_names = !folder && stat->st_nlink > 1 && (stat->st_size || stat->st_blocks);

    if (stat->st_dev != tally->device || has_more_names) {
        Apart apart = {stat->st_mode,  stat->st_ino, stat->st_dev, stat->st_nlink,
                       stat->st_blocks, changed_ns,  stat->st_size};
        append(tally, &tally->apart_names, name, strlen(name) + 1);
        append(tally, &tally->apart, &apart, sizeof apart);
        return;
    }
    tally->entries++;
    tally->blocks += stat->st_blocks;
    tally->size += stat->st_size;
    if (S_ISLNK(stat->st_mode))
        tally->symlink_size += stat->st_size;
    if (folder) {
        tally->folder_size += stat->st_size;
        append(tally, &tally->folders, name, strlen(name) + 1);
        if (tally->marked) {
            uint64_t stamp[2] = {stat->st_ino, changed_ns};
            append(tally, &tally->stamps, stamp, sizeof stamp);
        }
    }
}

/* Open a directory; its own device is the one to count where it may be another. */
static void
open_directory(Tally *tally, int parent, int crosses)
{
    tally->begun = 1;
    tally->fd = openat(parent, tally->path, OPEN_FLAGS | O_NOATIME);
    if (tally->fd < 0 && errno == EPERM)
        tally->fd = openat(parent, tally->path, OPEN_FLAGS);
    if (tally->fd < 0) {
        tally->error = errno;
        return;
    }
    struct stat stat;
    if (crosses && fstat(tally->fd, &stat) == 0)
        tally->device = stat.st_dev;
}

static void
close_directory(Tally *tally)
{
    if (tally->fd >= 0)
        close(tally->fd);
    tally->fd = -1;
}

/* Count the entries of the next names; false after the last of them. */
static int
next_batch(Tally *tally)
{
    _Alignas(struct dirent64) char batch[BATCH_BYTES];
    ssize_t length = getdents64(tally->fd, batch, sizeof batch);

    if (length < 0)
        tally->error = errno;
    for (ssize_t at = 0; at < length;) {
        const struct dirent64 *entry = (const struct dirent64 *)(batch + at);
        const char *name = entry->d_name;
        struct stat stat;

        at += entry->d_reclen;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(tally->fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0)
            count(tally, name, &stat);
        else if (errno == EACCES) {
            tally->error = errno;
            return 0;
        }
        else
            tally->vanished++;
    }
    return length > 0 && !tally->no_memory;
}

/* Open a directory, or count its next entries; false once it is done. */
static int
step(Tally *tally, int parent, int crosses)
{
    if (!tally->begun) {
        open_directory(tally, parent, crosses);
        return tally->fd >= 0;
    }
    if (next_batch(tally))
        return 1;
    if (tally->folders.length == 0 && tally->apart.length == 0)
        close_directory(tally);
    return 0;
}

static PyObject *
folder_names(const Tally *tally)
{
    PyObject *list = PyList_New(0);
    const char *end = tally->folders.data + tally->folders.length;

    for (const char *name = tally->folders.data; list != NULL && name != end; name += strlen(name) + 1) {
        PyObject *text = PyUnicode_DecodeFSDefault(name);
        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

static PyObject *
entries_apart(const Tally *tally)
{
    PyObject *list = PyList_New(0);
    const char *name = tally->apart_names.data;

    for (size_t at = 0; list != NULL && at < tally->apart.length; at += sizeof(Apart), name += strlen(name) + 1) {
        Apart one;
        memcpy(&one, tally->apart.data + at, sizeof one);
        PyObject *text = PyUnicode_DecodeFSDefault(name);
        PyObject *entry = text == NULL ? NULL
                                       : Py_BuildValue("(NKKKKLKK)", text, one.mode, one.inode, one.device, one.links,
                                                       one.size, one.blocks, one.changed_ns);
        if (entry == NULL || PyList_Append(list, entry) < 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *
result(const Tally *tally)
{
    if (tally->no_memory)
        return PyErr_NoMemory();
    PyObject *folders = folder_names(tally);
    PyObject *apart = folders == NULL ? NULL : entries_apart(tally);
    if (apart == NULL) {
        Py_XDECREF(folders);
        return NULL;
    }
    return Py_BuildValue("(iK(LLLLLL)Ny#Ni)", tally->fd, (unsigned long long)tally->device, tally->entries,
                         tally->blocks, tally->size, tally->folder_size, tally->symlink_size, tally->vanished, folders,
                         tally->stamps.data == NULL ? "" : tally->stamps.data, (Py_ssize_t)tally->stamps.length, apart,
                         tally->error);
}

/* A tally for each name; false with an exception set. */
static int
prepare(Tally *tallies, PyObject *names, Py_ssize_t count, dev_t device, int marked)
{
    for (Py_ssize_t at = 0; at < count; at++)
        tallies[at] = (Tally){.fd = -1, .device = device, .marked = marked};
    for (Py_ssize_t at = 0; at < count; at++) {
        tallies[at].name = PyUnicode_EncodeFSDefault(PyList_GetItem(names, at));
        if (tallies[at].name == NULL)
            return 0;
        tallies[at].path = PyBytes_AsString(tallies[at].name);
    }
    return 1;
}

/* Free what tallies hold, and their descriptors where nobody got them. */
static void
release(Tally *tallies, Py_ssize_t count, int closing)
{
    for (Py_ssize_t at = 0; at < count; at++) {
        Tally *one = &tallies[at];
        if (closing)
            close_directory(one);
        Py_XDECREF(one->name);
        free(one->folders.data);
        free(one->stamps.data);
        free(one->apart_names.data);
        free(one->apart.data);
    }
    free(tallies);
}

static PyObject *
results(const Tally *tallies, Py_ssize_t count)
{
    PyObject *list = PyList_New(0);

    for (Py_ssize_t at = 0; list != NULL && at < count; at++) {
        PyObject *one = result(&tallies[at]);
        if (one == NULL || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *
tally(PyObject *module, PyObject *arguments)
{
    int parent, crosses, marked;
    unsigned long long device;
    PyObject *names, *found = NULL;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iO!Kpp:tally", &parent, &PyList_Type, &names, &device, &crosses, &marked))
        return NULL;
    Py_ssize_t count = PyList_Size(names);
    Tally *tallies = calloc((size_t)count + 1, sizeof(Tally));
    if (tallies == NULL)
        return PyErr_NoMemory();
    if (!prepare(tallies, names, count, (dev_t)device, marked))
        goto end;
    for (Py_ssize_t at = 0; at < count;) {
        Py_BEGIN_ALLOW_THREADS
        for (int steps = 0; at < count && steps < STEPS; steps++)
            at += !step(&tallies[at], parent, crosses);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            goto end;
    }
    found = results(tallies, count);
end:
    release(tallies, count, found == NULL);
    return found;
}

/* Write the stamp of each name, of which the last ends at `end`; false where one is missing or of another device. */
static int
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

static PyObject *
stamps(PyObject *module, PyObject *arguments)
{
    int fd, whole;
    unsigned long long device;
    PyObject *text, *names, *found = NULL;
    char *name;
    Py_ssize_t length, count = 1;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iKU:stamps", &fd, &device, &text))
        return NULL;
    names = PyUnicode_EncodeFSDefault(text);
    if (names == NULL || PyBytes_AsStringAndSize(names, &name, &length) < 0)
        goto end;
    for (Py_ssize_t at = 0; at < length; at++)
        count += name[at] == '\0';
    found = PyBytes_FromStringAndSize(NULL, count * 2 * (Py_ssize_t)sizeof(uint64_t));
    if (found == NULL)
        goto end;
    char *target = PyBytes_AsString(found);
    Py_BEGIN_ALLOW_THREADS
    whole = write_stamps(target, fd, (dev_t)device, name, name + length);
    Py_END_ALLOW_THREADS
    if (!whole) {
        Py_DECREF(found);
        found = Py_NewRef(Py_None);
    }
end:
    Py_XDECREF(names);
    return found;
}

static PyMethodDef methods[] = {
    {"tally", tally, METH_VARARGS, "tally(parent, names, device, crosses, marked): see layerscope.hostfs.tally"},
    {"stamps", stamps, METH_VARARGS, "stamps(fd, device, names): see layerscope.hostfs.tally"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_tally",
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__tally(void)
{
    return PyModuleDef_Init(&definition);
}
