/* The tally of trees and the stamps of directories, compiled: what tally.py does in Python, field for field.
 *
 * The file system's own answer to a fstatat takes a microsecond; Python's objects around it take as much again. The
 * interpreter's lock is let go for whole trees, since threads that pass it on for every call only wait for each other;
 * where there are very many names it is taken now and then to look for signals.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "walk.h"

#include <stdlib.h>
#include <string.h>

static PyObject *
names_of(const char *name, const char *end)
{
    PyObject *list = PyList_New(0);

    for (; list != NULL && name != end; name += strlen(name) + 1) {
        PyObject *text = PyUnicode_DecodeFSDefault(name);
        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

/* Append what was made to a list; false where it, or the list, couldn't be made. */
static int
append_made(PyObject *list, PyObject *made)
{
    int done = made != NULL && PyList_Append(list, made) == 0;
    Py_XDECREF(made);
    return done;
}

static PyObject *
entries_apart(const Walk *walk)
{
    PyObject *list = PyList_New(0);
    const char *path = walk->apart_names.data;

    for (size_t at = 0; list != NULL && at < walk->apart.length; at += sizeof(Apart)) {
        const char *name = path + strlen(path) + 1;
        Apart one;
        memcpy(&one, walk->apart.data + at, sizeof one);
        PyObject *folder = PyUnicode_DecodeFSDefault(path), *text = PyUnicode_DecodeFSDefault(name);
        if (!append_made(list, Py_BuildValue("(iNNKKKKLK)", one.why, folder, text, one.mode, one.inode, one.device,
                                             one.links, one.size, one.blocks)))
            Py_CLEAR(list);
        path = name + strlen(name) + 1;
    }
    return list;
}

/* The directories that are left: of each frame its path and the names that are. */
static PyObject *
left_over(const Walk *walk)
{
    PyObject *list = PyList_New(0);

    for (int at = 0; list != NULL && at < walk->depth; at++) {
        const Frame *frame = &walk->frames[at];
        const char *end = frame->names.data + frame->names.length;
        if (frame->next == frame->names.length)
            continue;
        PyObject *path = PyUnicode_DecodeFSDefaultAndSize(walk->path.data, (Py_ssize_t)frame->path_length);
        if (!append_made(list, Py_BuildValue("(NN)", path, names_of(frame->names.data + frame->next, end))))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *
result(const Walk *walk)
{
    if (walk->no_memory)
        return PyErr_NoMemory();
    size_t length = walk->folders.length ? walk->folders.length - 2 : 0; /* without what ends the last one */
    PyObject *folders = PyUnicode_DecodeFSDefaultAndSize(length ? walk->folders.data : "", (Py_ssize_t)length);
    return Py_BuildValue("((LLLLLL)Ny#NN)", walk->entries, walk->blocks, walk->size, walk->folder_size,
                         walk->symlink_size, walk->vanished, folders, walk->stamps.data ? walk->stamps.data : "",
                         (Py_ssize_t)walk->stamps.length, entries_apart(walk), left_over(walk));
}

/* Append the bytes of a text, which has no NUL; false with an exception set. */
static int
append_text(Walk *walk, Buffer *buffer, PyObject *text, size_t ends)
{
    PyObject *encoded = PyUnicode_EncodeFSDefault(text);
    char *bytes;
    int done = encoded != NULL && PyBytes_AsStringAndSize(encoded, &bytes, NULL) == 0;

    if (done)
        walk_append(walk, buffer, bytes, strlen(bytes) + ends);
    Py_XDECREF(encoded);
    return done;
}

static PyObject *
tally(PyObject *module, PyObject *arguments)
{
    int root, crosses, marked, more;
    long long budget;
    unsigned long long device;
    PyObject *path, *names, *found = NULL;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iUO!KppL:tally", &root, &path, &PyList_Type, &names, &device, &crosses, &marked,
                          &budget))
        return NULL;
    Walk *walk = calloc(1, sizeof(Walk));
    if (walk == NULL)
        return PyErr_NoMemory();
    walk->crosses = crosses;
    walk->marked = marked;
    walk->wanted = (dev_t)device;
    walk->budget = budget;
    walk->frames[0].fd = walk->current.fd = -1;
    walk->depth = 1;
    Buffer *wanted = &walk->frames[0].names;
    if (!append_text(walk, &walk->path, path, 0))
        goto end;
    for (Py_ssize_t at = 0; at < PyList_Size(names); at++)
        if (!append_text(walk, wanted, PyList_GetItem(names, at), 1))
            goto end;
    more = walk_begin(walk, root);
    if (!more) {
        walk->vanished = PyList_Size(names);
        walk->frames[0].next = wanted->length;
    }
    while (more) {
        Py_BEGIN_ALLOW_THREADS
        more = walk_on(walk);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            goto end;
    }
    found = result(walk);
end:
    walk_end(walk);
    free(walk);
    return found;
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
    {"tally", tally, METH_VARARGS, "tally(root, path, names, device, crosses, marked, budget): see layerscope.hostfs.tally"},
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
