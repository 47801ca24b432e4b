/* cdc._native: NATS frames and MACs in bulk, in and out.  docs/adr/0009-compiled-hot-path.md

   What is not a whole MSG or HMSG of the one subscription is left to the Python code in
   cdc/jetstream/connection.py and consumer.py, which are the reference. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <string.h>

#include "seal.h"

enum { FIELDS_MAX = 8, DIGITS_MAX = 12 };

typedef struct {
    const char *at;
    Py_ssize_t size;
} Word;

/* The words of a control line; -1: too many. */
static int words_of(const char *at, const char *end, Word *words)
{
    int count = 0;
    while (at < end) {
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        const char *start = at;
        while (at < end && *at != ' ' && *at != '\t')
            at++;
        if (at == start)
            break;
        if (count == FIELDS_MAX)
            return -1;
        words[count++] = (Word){start, at - start};
    }
    return count;
}

/* -1: no number. */
static Py_ssize_t number_of(Word word)
{
    Py_ssize_t number = 0;
    if (word.size < 1 || word.size > DIGITS_MAX)
        return -1;
    for (Py_ssize_t i = 0; i < word.size; i++) {
        if (word.at[i] < '0' || word.at[i] > '9')
            return -1;
        number = number * 10 + (word.at[i] - '0');
    }
    return number;
}

/* The same object again where the bytes are: subjects repeat. */
static PyObject *bytes_like(PyObject **last, Word word)
{
    if (*last == NULL || PyBytes_GET_SIZE(*last) != word.size ||
        memcmp(PyBytes_AS_STRING(*last), word.at, (size_t)word.size))
        Py_XSETREF(*last, PyBytes_FromStringAndSize(word.at, word.size));
    return Py_XNewRef(*last);
}

static int append_frame(PyObject *out, PyObject **last, Word subject, Word reply, Word header,
                        Word body)
{
    PyObject *frame = PyTuple_New(4);
    if (frame == NULL)
        return -1;
    PyTuple_SET_ITEM(frame, 0, bytes_like(last, subject));
    PyTuple_SET_ITEM(frame, 1, PyBytes_FromStringAndSize(reply.at, reply.size));
    PyTuple_SET_ITEM(frame, 2, PyBytes_FromStringAndSize(header.at, header.size));
    PyTuple_SET_ITEM(frame, 3, PyBytes_FromStringAndSize(body.at, body.size));
    int appended = PyErr_Occurred() ? -1 : PyList_Append(out, frame);
    Py_DECREF(frame);
    return appended;
}

static PyObject *cut(PyObject *module, PyObject *args)
{
    (void)module;
    const char *data, *sid;
    Py_ssize_t size, at, sid_size;
    PyObject *out, *last = NULL;
    if (!PyArg_ParseTuple(args, "y#ny#O!", &data, &size, &at, &sid, &sid_size, &PyList_Type, &out))
        return NULL;
    while (at < size && (data[at] == 'M' || data[at] == 'H')) {
        const char *line = data + at, *end = memchr(line, '\r', (size_t)(size - at));
        if (end == NULL || end + 1 >= data + size || end[1] != '\n')
            break;
        Word words[FIELDS_MAX], none = {line, 0};
        int count = words_of(line, end, words), headed = line[0] == 'H';
        if (count - headed < 4 || count - headed > 5)
            break;
        Py_ssize_t all = number_of(words[count - 1]);
        Py_ssize_t head = headed ? number_of(words[count - 2]) : 0;
        Py_ssize_t body = end + 2 - data;
        if (all < 0 || head < 0 || head > all || body + all + 2 > size ||
            words[2].size != sid_size || memcmp(words[2].at, sid, (size_t)sid_size))
            break;
        Word reply = count - headed == 5 ? words[3] : none;
        if (append_frame(out, &last, words[1], reply, (Word){data + body, head},
                         (Word){data + body + head, all - head}) < 0) {
            Py_XDECREF(last);
            return NULL;
        }
        at = body + all + 2;
    }
    Py_XDECREF(last);
    return PyLong_FromSsize_t(at);
}

static Py_ssize_t digits(char *to, Py_ssize_t number)
{
    char reversed[20];
    Py_ssize_t count = 0;
    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    for (Py_ssize_t i = 0; i < count; i++)
        to[i] = reversed[count - 1 - i];
    return count;
}

static char *put(char *to, const char *from, Py_ssize_t size)
{
    memcpy(to, from, (size_t)size);
    return to + size;
}

/* Subject and body of a message; false: it is not two bytes objects. */
static bool message_of(PyObject *messages, Py_ssize_t n, PyObject **subject, PyObject **body)
{
    PyObject *message = PyList_GET_ITEM(messages, n);
    if (!PyTuple_Check(message) || PyTuple_GET_SIZE(message) != 2) {
        PyErr_SetString(PyExc_TypeError, "a message is (subject, body)");
        return false;
    }
    *subject = PyTuple_GET_ITEM(message, 0), *body = PyTuple_GET_ITEM(message, 1);
    if (!PyBytes_Check(*subject) || !PyBytes_Check(*body)) {
        PyErr_SetString(PyExc_TypeError, "subject and body are bytes");
        return false;
    }
    return true;
}

static PyObject *appends(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *messages, *subject, *body;
    const char *reply;
    Py_ssize_t reply_size, first, stop, room = 0;
    if (!PyArg_ParseTuple(args, "O!nny#", &PyList_Type, &messages, &first, &stop, &reply,
                          &reply_size))
        return NULL;
    if (first < 0 || stop > PyList_GET_SIZE(messages)) {
        PyErr_SetString(PyExc_IndexError, "no such messages");
        return NULL;
    }
    for (Py_ssize_t n = first; n < stop; n++) {
        if (!message_of(messages, n, &subject, &body))
            return NULL;
        room += PyBytes_GET_SIZE(subject) + reply_size + PyBytes_GET_SIZE(body) + 64;
    }
    PyObject *block = PyBytes_FromStringAndSize(NULL, room);
    if (block == NULL)
        return NULL;
    char *begin = PyBytes_AS_STRING(block), *to = begin;
    for (Py_ssize_t n = first; n < stop; n++) {
        if (!message_of(messages, n, &subject, &body)) {
            Py_DECREF(block);
            return NULL;
        }
        to = put(to, "PUB ", 4);
        to = put(to, PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject));
        *to++ = ' ';
        to = put(to, reply, reply_size);
        to += digits(to, n + 1);
        to = put(to, ".1.$FI ", 7);
        to += digits(to, PyBytes_GET_SIZE(body));
        to = put(to, "\r\n", 2);
        to = put(to, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body));
        to = put(to, "\r\n", 2);
    }
    _PyBytes_Resize(&block, to - begin);
    return block;
}

/* -- the MAC behind a body: cdc/seal.py ---------------------------------------------------- */

static bool opened(Seal *seal, const char *key, Py_ssize_t size)
{
    if (!seal_open(seal, key, (size_t)size)) {
        PyErr_SetString(PyExc_ValueError, "a key has 1 to 64 bytes");
        return false;
    }
    return true;
}

static PyObject *sealed_body(const Seal *seal, PyObject *body)
{
    Py_ssize_t size = PyBytes_Check(body) ? PyBytes_GET_SIZE(body) - 1 : 0;
    if (size < 1) {
        PyErr_SetString(PyExc_TypeError, "a body is a JSON object, as bytes");
        return NULL;
    }
    PyObject *out = PyBytes_FromStringAndSize(NULL, size + SEAL_TAIL);
    if (out == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(out);
    to = put(to, PyBytes_AS_STRING(body), size);
    to = put(to, SEAL_BEGIN, sizeof SEAL_BEGIN - 1);
    seal_mac(seal, PyBytes_AS_STRING(body), (size_t)size, to);
    put(to + SEAL_CHARS, "\"}", 2);
    return out;
}

static PyObject *sealed(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *bodies;
    const char *key;
    Py_ssize_t key_size;
    Seal seal;
    if (!PyArg_ParseTuple(args, "O!y#", &PyList_Type, &bodies, &key, &key_size) ||
        !opened(&seal, key, key_size))
        return NULL;
    PyObject *out = PyList_New(PyList_GET_SIZE(bodies));
    for (Py_ssize_t n = 0; out != NULL && n < PyList_GET_SIZE(bodies); n++) {
        PyObject *body = sealed_body(&seal, PyList_GET_ITEM(bodies, n));
        if (body == NULL)
            Py_CLEAR(out);
        else
            PyList_SET_ITEM(out, n, body);
    }
    return out;
}

static PyObject *fits(PyObject *module, PyObject *args)
{
    (void)module;
    const char *body, *key;
    Py_ssize_t size, key_size;
    Seal seal;
    if (!PyArg_ParseTuple(args, "y#y#", &body, &size, &key, &key_size))
        return NULL;
    if (!seal_there(body, (size_t)size))
        Py_RETURN_FALSE;
    if (!opened(&seal, key, key_size))
        return NULL;
    return PyBool_FromLong(seal_fits(&seal, body, (size_t)size));
}

/* -- deliveries ----------------------------------------------------------------------------- */

/* The number before a dot, read backwards from `end`; -1: none. */
static long long number_before(const char *start, const char **end)
{
    long long number = 0, power = 1;
    const char *at = *end;
    while (at > start && at[-1] >= '0' && at[-1] <= '9' && *end - at < 18) {
        number += (*--at - '0') * power;
        power *= 10;
    }
    if (at == *end || at == start || at[-1] != '.')
        return -1;
    *end = at - 1;
    return number;
}

static PyObject *deliveries_of(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *raws, *out;
    Py_ssize_t n;
    long long consumer_seq = -1;
    if (!PyArg_ParseTuple(args, "O!nO!", &PyList_Type, &raws, &n, &PyList_Type, &out))
        return NULL;
    for (; n < PyList_GET_SIZE(raws); n++) {
        PyObject *raw = PyList_GET_ITEM(raws, n);
        if (!PyTuple_Check(raw) || PyTuple_GET_SIZE(raw) != 4)
            break;
        PyObject *reply = PyTuple_GET_ITEM(raw, 1), *header = PyTuple_GET_ITEM(raw, 2);
        if (!PyBytes_Check(reply) || !PyBytes_Check(header) || PyBytes_GET_SIZE(header))
            break;
        /* …<delivered>.<stream seq>.<consumer seq>.<time>.<pending> */
        const char *start = PyBytes_AS_STRING(reply), *end = start + PyBytes_GET_SIZE(reply);
        if (number_before(start, &end) < 0)
            break;
        while (end > start && *--end != '.') /* a time has more digits than a number here */
            ;
        long long own = number_before(start, &end), seq = own < 0 ? -1 : number_before(start, &end);
        if (seq < 0)
            break;
        PyObject *number = PyLong_FromLongLong(seq);
        PyObject *delivery = number == NULL ? NULL : PyTuple_Pack(3, number,
                                                                  PyTuple_GET_ITEM(raw, 0),
                                                                  PyTuple_GET_ITEM(raw, 3));
        Py_XDECREF(number);
        if (delivery == NULL)
            return NULL;
        int appended = PyList_Append(out, delivery);
        Py_DECREF(delivery);
        if (appended < 0)
            return NULL;
        consumer_seq = own;
    }
    return Py_BuildValue("nL", n, consumer_seq);
}

static PyMethodDef METHODS[] = {
    {"sealed", sealed, METH_VARARGS, "sealed(bodies, key): the same, each with its MAC."},
    {"fits", fits, METH_VARARGS, "fits(body, key): whether a body ends with its MAC."},
    {"cut", cut, METH_VARARGS,
     "cut(data, at, sid, out) -> at: append (subject, reply, header, body) of each whole frame."},
    {"appends", appends, METH_VARARGS,
     "appends(messages, first, stop, reply): the PUB lines of a batch's steps 1."},
    {"deliveries", deliveries_of, METH_VARARGS,
     "deliveries(raws, n, out) -> (n, consumer sequence of the newest, or -1)."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cdc._native",
    .m_doc = "NATS frames in bulk, in and out, compiled.",
    .m_size = -1,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&MODULE);
}
