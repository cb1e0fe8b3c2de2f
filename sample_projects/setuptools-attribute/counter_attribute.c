#include <Python.h>

/* The attribute beats the flag on the command line. */
static __thread unsigned long count __attribute__((tls_model("initial-exec")));

static PyObject *next(PyObject *self, PyObject *unused)
{
    return PyLong_FromUnsignedLong(++count);
}

static PyMethodDef methods[] = {{"next", next, METH_NOARGS, "The calls of this thread so far."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "counter_attribute", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_counter_attribute(void)
{
    return PyModule_Create(&module);
}
