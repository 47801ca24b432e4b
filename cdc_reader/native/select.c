/* Rows of a SELECT, cut out of the connection's bytes; cdc_reader/rows/result_set.py has the rest. */

#include "column.h"

enum { NULL_VALUE = 0xFB, END_OR_ERROR = 0xFE, PACKET_MAX_BYTES = 0xFFFFFF };

/* One value with its length before it; NULL: it is not whole, or a length that is none. */
static PyObject *value_at(const unsigned char **from, const unsigned char *end)
{
    const unsigned char *at = *from;
    if (at >= end)
        return NULL;
    size_t size = *at++;
    if (size == NULL_VALUE) {
        *from = at;
        return Py_NewRef(Py_None);
    }
    if (size > NULL_VALUE) {
        size_t width = size == 0xFC ? 2 : size == 0xFD ? 3 : size == 0xFE ? 8 : 0;
        if (!width || (size_t)(end - at) < width)
            return NULL;
        size = (size_t)little_endian(at, width);
        at += width;
    }
    if ((size_t)(end - at) < size)
        return NULL;
    *from = at + size;
    return PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)size);
}

static PyObject *row_at(const unsigned char *at, const unsigned char *end, Py_ssize_t columns)
{
    PyObject *row = PyTuple_New(columns);
    for (Py_ssize_t i = 0; row != NULL && i < columns; i++) {
        PyObject *value = value_at(&at, end);
        if (value == NULL)
            Py_CLEAR(row);
        else
            PyTuple_SET_ITEM(row, i, value);
    }
    if (row != NULL && at != end)
        Py_CLEAR(row);
    return row;
}

PyObject *cut_rows(PyObject *module, PyObject *args)
{
    (void)module;
    const char *data;
    Py_ssize_t size, at, columns;
    PyObject *rows;
    if (!PyArg_ParseTuple(args, "y#nnO!", &data, &size, &at, &columns, &PyList_Type, &rows))
        return NULL;
    while (at + 5 <= size) {
        const unsigned char *packet = (const unsigned char *)data + at;
        Py_ssize_t length = (Py_ssize_t)little_endian(packet, 3);
        if (length < 1 || at + 4 + length > size || length >= PACKET_MAX_BYTES ||
            packet[4] >= END_OR_ERROR)
            break;
        PyObject *row = row_at(packet + 4, packet + 4 + length, columns);
        if (row == NULL) {
            if (PyErr_Occurred())
                return NULL;
            break;
        }
        int appended = PyList_Append(rows, row);
        Py_DECREF(row);
        if (appended < 0)
            return NULL;
        at += 4 + length;
    }
    return PyLong_FromSsize_t(at);
}
