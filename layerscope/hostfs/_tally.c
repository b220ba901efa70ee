/* The tally of one directory and the stamps of those in it, compiled: what tally.py does in Python, field for field.
 *
 * The file system's own answer to a fstatat takes a microsecond; Python's objects around it take as much again. That is
 * all that is done here: no path is followed, no directory opened, nothing decided. The interpreter's lock is let go
 * while the kernel is asked, and signals are looked at between two batches of names.
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

#define BATCH_BYTES 32768
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
    int64_t entries, blocks, size, folder_size, symlink_size, vanished;
    Buffer folders;     /* names, each with its NUL */
    Buffer stamps;      /* inode and change time of each folder */
    Buffer apart_names; /* names, each with its NUL */
    Buffer apart;       /* an Apart of each */
    int error;          /* of the kernel: why not all names were read */
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
count(Tally *tally, const char *name, const struct stat *stat, dev_t device, int marked)
{
    uint64_t changed_ns = changed_ns_of(stat);
    int folder = S_ISDIR(stat->st_mode);
    int has_more_names = !folder && stat->st_nlink > 1 && (stat->st_size || stat->st_blocks);

    if (stat->st_dev != device || has_more_names) {
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
        if (marked) {
            uint64_t stamp[2] = {stat->st_ino, changed_ns};
            append(tally, &tally->stamps, stamp, sizeof stamp);
        }
    }
}

/* Count the entries of the next names; false after the last of them. */
static int
next_batch(Tally *tally, int fd, dev_t device, int marked)
{
    _Alignas(struct dirent64) char batch[BATCH_BYTES];
    ssize_t length = getdents64(fd, batch, sizeof batch);

    if (length < 0)
        tally->error = errno;
    for (ssize_t at = 0; at < length;) {
        const struct dirent64 *entry = (const struct dirent64 *)(batch + at);
        const char *name = entry->d_name;
        struct stat stat;

        at += entry->d_reclen;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0)
            count(tally, name, &stat, device, marked);
        else if (errno == EACCES) {
            tally->error = errno;
            return 0;
        }
        else
            tally->vanished++;
    }
    return length > 0 && !tally->no_memory;
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
    return Py_BuildValue("(LLLLLLNy#Ni)", tally->entries, tally->blocks, tally->size, tally->folder_size,
                         tally->symlink_size, tally->vanished, folders,
                         tally->stamps.data == NULL ? "" : tally->stamps.data, (Py_ssize_t)tally->stamps.length, apart,
                         tally->error);
}

static PyObject *
tally(PyObject *module, PyObject *arguments)
{
    int fd, marked, more;
    unsigned long long device;
    Tally tally = {0};
    PyObject *found = NULL;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iKp:tally", &fd, &device, &marked))
        return NULL;
    do {
        Py_BEGIN_ALLOW_THREADS
        more = next_batch(&tally, fd, (dev_t)device, marked);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            goto end;
    } while (more);
    found = result(&tally);
end:
    free(tally.folders.data);
    free(tally.stamps.data);
    free(tally.apart_names.data);
    free(tally.apart.data);
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
    {"tally", tally, METH_VARARGS, "tally(fd, device, marked): see layerscope.hostfs.tally"},
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
