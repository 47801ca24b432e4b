/* redis_sink._native: messages to the last state of each key.  docs/adr/0009-compiled-hot-path.md

   A message is taken here when it is written as our reader writes it, follows the last one, and
   belongs to a captured table.  Anything else is left, with the state as it is in front of it, to
   redis_sink/plan/planner.py, which is the reference and knows all refusals. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <string.h>

#include "seal.h"

enum { FAILED = -1, DONE = 0, UNUSUAL = 1 };

typedef struct {
    const char *at;
    Py_ssize_t size;
    bool escaped, there;
} Text; /* a JSON string, without its quotes */

typedef struct {
    Text key, value, op, table, old_key, id, prev;
    bool half; /* the other half of a row whose key went to another partition */
} Change;

/* -- reading a body ------------------------------------------------------------------------ */

static bool literal(const char **at, const char *end, const char *text, Py_ssize_t size)
{
    if (end - *at < size || memcmp(*at, text, (size_t)size))
        return false;
    *at += size;
    return true;
}

#define LITERAL(text) literal(&at, end, (text), sizeof(text) - 1)

static bool string(const char **from, const char *end, Text *text)
{
    const char *at = *from;
    *text = (Text){at, 0, false, true};
    for (; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return false;
        if (*at == '\\') {
            text->escaped = true;
            at++;
        }
    }
    if (at >= end)
        return false;
    text->size = at - text->at;
    *from = at + 1;
    return true;
}

/* ASCII without escapes: bytes and text are the same. */
static bool is_plain(const Text *text)
{
    unsigned char seen = 0;
    for (Py_ssize_t i = 0; i < text->size; i++)
        seen |= (unsigned char)text->at[i];
    return !text->escaped && seen < 0x80;
}

/* Four or five numbers of 18 digits at most with dots between; how many, 0: not an id. */
static int id_numbers(const Text *text)
{
    int numbers = 0;
    const char *at = text->at, *end = at + text->size;
    for (;;) {
        const char *start = at;
        while (at < end && *at >= '0' && *at <= '9')
            at++;
        if (at == start || at - start > 18)
            return 0;
        numbers++;
        if (at == end)
            return numbers == 4 || numbers == 5 ? numbers : 0;
        if (*at++ != '.')
            return 0;
    }
}

/* What may end a body after its version: the brace, or a MAC in front of it.  Whether the MAC fits
   is asked later, and not of messages of before there was a key: so it is looked at here as text,
   or the body could be none that JSON can be read from. */
static bool is_end(const char *at, const char *end)
{
    if (end - at == 1)
        return *at == '}';
    if (end - at != SEAL_TAIL || !LITERAL(SEAL_BEGIN))
        return false;
    for (const char *last = end - 2; at < last; at++)
        if (!((*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') ||
              (*at >= 'a' && *at <= 'z') || *at == '+' || *at == '/'))
            return false;
    return LITERAL("\"}");
}

/* Fields in the order of cdc.message.Change, no spaces, version 1. */
static bool change_of(const char *at, const char *end, Change *c)
{
    Text gtid;
    int numbers;
    c->value.there = c->old_key.there = false;
    if (!LITERAL("{\"key\":\"") || !string(&at, end, &c->key))
        return false;
    if (LITERAL(",\"value\":\"") && !string(&at, end, &c->value))
        return false;
    if (!LITERAL(",\"op\":\"") || !string(&at, end, &c->op) || !LITERAL(",\"table\":\"") ||
        !string(&at, end, &c->table))
        return false;
    if (LITERAL(",\"old_key\":\"") && !string(&at, end, &c->old_key))
        return false;
    if (LITERAL(",\"gtid\":\"") && (!string(&at, end, &gtid) || !is_plain(&gtid)))
        return false;
    if (!LITERAL(",\"id\":\"") || !string(&at, end, &c->id) ||
        (numbers = id_numbers(&c->id)) == 0 || !LITERAL(",\"prev\":\"") ||
        !string(&at, end, &c->prev) || !LITERAL(",\"ts\":"))
        return false;
    c->half = numbers == 5;
    const char *digits = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    if (at == digits || at - digits > 17 || (*digits == '0' && at - digits > 1))
        return false;
    return LITERAL(",\"v\":1") && is_end(at, end);
}

static int hexadecimal(const char *at)
{
    int number = 0;
    for (int i = 0; i < 4; i++) {
        int digit = at[i] >= '0' && at[i] <= '9'   ? at[i] - '0'
                    : at[i] >= 'a' && at[i] <= 'f' ? at[i] - 'a' + 10
                    : at[i] >= 'A' && at[i] <= 'F' ? at[i] - 'A' + 10
                                                   : -1;
        if (digit < 0)
            return -1;
        number = number << 4 | digit;
    }
    return number;
}

/* One escape after its backslash; returns what follows it, NULL: none that is taken here. */
static const char *unescape(const char *at, const char *end, char **to)
{
    static const char from_short[] = "\"\\/bfnrt", to_short[] = "\"\\/\b\f\n\r\t";
    if (at >= end)
        return NULL;
    const char *found = memchr(from_short, *at, sizeof from_short - 1);
    if (found != NULL) {
        *(*to)++ = to_short[found - from_short];
        return at + 1;
    }
    int code = *at == 'u' && end - at >= 5 ? hexadecimal(at + 1) : -1;
    if (code < 0 || code > 0x7F) /* our reader escapes only control characters */
        return NULL;
    *(*to)++ = (char)code;
    return at + 5;
}

typedef struct {
    char *data;
    Py_ssize_t room;
} Scratch;

/* The text as str; NULL without an error: not taken here. */
static PyObject *str_of(const Text *text, Scratch *scratch)
{
    const char *at = text->at, *end = at + text->size;
    if (text->escaped) {
        if (scratch->room < text->size) {
            char *data = PyMem_Realloc(scratch->data, (size_t)text->size * 2);
            if (data == NULL)
                return PyErr_NoMemory();
            scratch->data = data, scratch->room = text->size * 2;
        }
        char *to = scratch->data;
        while (at < end) {
            const char *slash = memchr(at, '\\', (size_t)(end - at));
            Py_ssize_t plain = (slash ? slash : end) - at;
            memcpy(to, at, (size_t)plain);
            to += plain;
            at += plain;
            if (slash != NULL && (at = unescape(slash + 1, end, &to)) == NULL)
                return NULL;
        }
        at = scratch->data, end = to;
    }
    PyObject *str = PyUnicode_DecodeUTF8(at, end - at, "strict");
    if (str == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return str;
}

/* -- taking it ------------------------------------------------------------------------------ */

enum { SLOTS = 8 };

typedef struct {
    const char *op;
    Text table;
    Py_ssize_t rows;
} Slot; /* rows of one operation on one table */

typedef struct {
    PyObject *ops, *is_hash, *own, *writes, *counts;
    Slot slots[SLOTS];
    int used;
    Py_ssize_t max_bytes;
    Scratch scratch;
    const char *last_id;
    Py_ssize_t last_id_size;
    Seal seal;
    long long since; /* the first sequence that needs a MAC */
    /* What was found last: a batch is of few subjects and tables. */
    PyObject *subject;
    const char *op;
    Py_ssize_t op_size;
    Text table;
    bool hashed;
} Take;

static bool same(const Text *text, const char *other, Py_ssize_t size)
{
    return !text->escaped && text->size == size && !memcmp(text->at, other, (size_t)size);
}

static int find_op(Take *t, PyObject *subject)
{
    if (subject == t->subject)
        return DONE;
    PyObject *op = PyDict_GetItemWithError(t->ops, subject);
    if (op == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    if ((t->op = PyUnicode_AsUTF8AndSize(op, &t->op_size)) == NULL)
        return FAILED;
    t->subject = subject;
    return DONE;
}

static int find_table(Take *t, const Text *table)
{
    if (t->table.there && same(table, t->table.at, t->table.size))
        return DONE;
    t->table.there = false;
    PyObject *name = str_of(table, &t->scratch);
    if (name == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    PyObject *hashed = PyDict_GetItemWithError(t->is_hash, name);
    Py_DECREF(name);
    if (hashed == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    t->table = *table;
    t->hashed = hashed == Py_True;
    return DONE;
}

/* A key as str that is not below the prefix of cdc's own. */
static int key_of(Take *t, const Text *text, PyObject **key)
{
    *key = str_of(text, &t->scratch);
    if (*key == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    Py_ssize_t own = PyUnicode_Tailmatch(*key, t->own, 0, PY_SSIZE_T_MAX, -1);
    return own < 0 ? FAILED : own ? UNUSUAL : DONE;
}

/* What the key's state becomes: None, the text, or the text with where it came from. */
static int state_of(Take *t, const Text *value, PyObject *delivery, PyObject **state)
{
    if (!value->there) {
        *state = Py_NewRef(Py_None);
        return DONE;
    }
    PyObject *text = str_of(value, &t->scratch);
    if (text == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    *state = text;
    if (t->hashed) {
        *state = PyTuple_Pack(2, text, delivery);
        Py_DECREF(text);
    }
    return *state == NULL ? FAILED : DONE;
}

/* Add what was counted to the dict: {"shop.users:update": 3}. */
static int pour(Take *t)
{
    for (; t->used > 0; t->used--) {
        const Slot *slot = &t->slots[t->used - 1];
        PyObject *table = str_of(&slot->table, &t->scratch);
        if (table == NULL)
            return FAILED;
        PyObject *name = PyUnicode_FromFormat("%U:%s", table, slot->op);
        Py_DECREF(table);
        if (name == NULL)
            return FAILED;
        PyObject *before = PyDict_GetItemWithError(t->counts, name);
        PyObject *sum = NULL;
        if (before != NULL || !PyErr_Occurred())
            sum = PyLong_FromSsize_t((before ? PyLong_AsSsize_t(before) : 0) + slot->rows);
        int set = sum == NULL ? -1 : PyDict_SetItem(t->counts, name, sum);
        Py_DECREF(name);
        Py_XDECREF(sum);
        if (set < 0)
            return FAILED;
    }
    return DONE;
}

static int count_row(Take *t)
{
    for (int i = 0; i < t->used; i++) {
        Slot *slot = &t->slots[i];
        if (slot->op == t->op && (slot->table.at == t->table.at ||
                                  same(&slot->table, t->table.at, t->table.size))) {
            slot->rows++;
            return DONE;
        }
    }
    if (t->used == SLOTS && pour(t) == FAILED)
        return FAILED;
    t->slots[t->used++] = (Slot){t->op, t->table, 1};
    return DONE;
}

static int take_one(Take *t, PyObject *delivery)
{
    if (!PyTuple_Check(delivery) || PyTuple_GET_SIZE(delivery) != 3)
        return UNUSUAL;
    PyObject *body = PyTuple_GET_ITEM(delivery, 2);
    if (!PyBytes_Check(body) || PyBytes_GET_SIZE(body) > t->max_bytes)
        return UNUSUAL;
    int found = find_op(t, PyTuple_GET_ITEM(delivery, 1));
    if (found != DONE)
        return found;
    Change c;
    const char *at = PyBytes_AS_STRING(body);
    if (!change_of(at, at + PyBytes_GET_SIZE(body), &c) ||
        !same(&c.op, t->op, t->op_size) || !same(&c.prev, t->last_id, t->last_id_size))
        return UNUSUAL;
    long long seq = PyLong_AsLongLong(PyTuple_GET_ITEM(delivery, 0));
    if (seq == -1 && PyErr_Occurred())
        return FAILED;
    if (seq >= t->since && !seal_fits(&t->seal, at, (size_t)PyBytes_GET_SIZE(body)))
        return UNUSUAL;
    if ((found = find_table(t, &c.table)) != DONE)
        return found;
    PyObject *key = NULL, *old_key = NULL, *state = NULL;
    found = key_of(t, &c.key, &key);
    if (found == DONE && c.old_key.there)
        found = key_of(t, &c.old_key, &old_key);
    if (found == DONE)
        found = state_of(t, &c.value, delivery, &state);
    if (found == DONE && old_key != NULL && PyDict_SetItem(t->writes, old_key, Py_None) < 0)
        found = FAILED;
    if (found == DONE && PyDict_SetItem(t->writes, key, state) < 0)
        found = FAILED;
    Py_XDECREF(key);
    Py_XDECREF(old_key);
    Py_XDECREF(state);
    if (found == DONE && !c.half)
        found = count_row(t);
    if (found == DONE)
        t->last_id = c.id.at, t->last_id_size = c.id.size;
    return found;
}

static PyObject *take(PyObject *module, PyObject *args)
{
    (void)module;
    Take t = {0};
    PyObject *deliveries;
    Py_ssize_t at, key_size;
    const char *key;
    if (!PyArg_ParseTuple(args, "O!ns#O!O!OnO!O!y#L", &PyList_Type, &deliveries, &at, &t.last_id,
                          &t.last_id_size, &PyDict_Type, &t.ops, &PyDict_Type, &t.is_hash, &t.own,
                          &t.max_bytes, &PyDict_Type, &t.writes, &PyDict_Type, &t.counts, &key,
                          &key_size, &t.since))
        return NULL;
    if (!seal_open(&t.seal, key, (size_t)key_size)) {
        PyErr_SetString(PyExc_ValueError, "a key has 1 to 64 bytes");
        return NULL;
    }
    if (!PyUnicode_Check(t.own)) {
        PyErr_SetString(PyExc_TypeError, "own is a str");
        return NULL;
    }
    int done = DONE;
    while (done == DONE && at < PyList_GET_SIZE(deliveries)) {
        PyObject *delivery = PyList_GET_ITEM(deliveries, at);
        done = take_one(&t, delivery);
        at += done == DONE;
    }
    if (done != FAILED && pour(&t) == FAILED)
        done = FAILED;
    PyMem_Free(t.scratch.data);
    if (done == FAILED)
        return NULL;
    return Py_BuildValue("ns#", at, t.last_id, t.last_id_size);
}

static PyMethodDef METHODS[] = {
    {"take", take, METH_VARARGS,
     "take(deliveries, at, last_id, ops, is_hash, own, max_bytes, writes, counts, key, since)"
     " -> (at, last_id)."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "redis_sink._native",
    .m_doc = "The hot path of the sink, compiled.",
    .m_size = -1,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&MODULE);
}
