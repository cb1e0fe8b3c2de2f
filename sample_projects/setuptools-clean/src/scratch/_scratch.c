/* A per-thread scratch buffer, as many parsers and hash functions keep one. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static __thread unsigned char buffer[512];
static __thread unsigned long calls;

/* digest(data) -> (checksum, calls of this thread): folds the bytes through this thread's own buffer. */
static PyObject *digest(PyObject *self, PyObject *args)
{
    const unsigned char *data;
    Py_ssize_t length;
    unsigned long sum = 0;
    if (!PyArg_ParseTuple(args, "y#", &data, &length))
        return NULL;
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = 0;
    for (Py_ssize_t i = 0; i < length; i++)
        buffer[(size_t)i % sizeof buffer] ^= data[i];
    for (size_t i = 0; i < sizeof buffer; i++)
        sum = sum * 31 + buffer[i];
    return Py_BuildValue("(kk)", sum, ++calls);
}

static PyMethodDef methods[] = {
    {"digest", digest, METH_VARARGS, "digest(data) -> (checksum, calls made by this thread)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_scratch", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__scratch(void)
{
    return PyModule_Create(&module);
}
