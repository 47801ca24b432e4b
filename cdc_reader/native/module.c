/* cdc_reader._native: the hot path of the reader, compiled.  docs/adr/0009-compiled-hot-path.md */

#include "crc.h"
#include "plan.h"

PyObject *follow(PyObject *module, PyObject *args);
PyObject *cut_rows(PyObject *module, PyObject *args);

static PyMethodDef METHODS[] = {
    {"follow", follow, METH_VARARGS,
     "Take the usual packets at the front of a dump's bytes in; see cdc_reader.publish.transaction."},
    {"cut_rows", cut_rows, METH_VARARGS,
     "cut_rows(data, at, columns, rows): take whole, usual rows of a SELECT off the front."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cdc_reader._native",
    .m_doc = "The hot path of the reader, compiled.",
    .m_size = -1,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__native(void)
{
    crc_begin();
    escapes_begin();
    if (PyType_Ready(&PlanType) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&MODULE);
    if (module == NULL)
        return NULL;
    if (PyModule_AddObjectRef(module, "Plan", (PyObject *)&PlanType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
