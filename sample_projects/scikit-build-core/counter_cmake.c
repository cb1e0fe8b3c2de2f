#include <Python.h>

static __thread volatile unsigned long history[32];
static __thread unsigned long count;

static PyObject *next(PyObject *self, PyObject *unused)
{
    history[count % 32] = count;
    return PyLong_FromUnsignedLong(++count);
}

static PyMethodDef methods[] = {{"next", next, METH_NOARGS, "The calls of this thread so far."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "counter_cmake", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_counter_cmake(void)
{
    return PyModule_Create(&module);
}
