/* Rows -> message bodies, by the plan that cdc_reader/rows/row_plan.py makes for a table. */

#include "plan.h"

#include <structmember.h>

/* -- making one ------------------------------------------------------------------------ */

static void parts_free(Part *parts, int count)
{
    for (int i = 0; i < count; i++) {
        Py_XDECREF(parts[i].literal);
        PyMem_Free(parts[i].escapes);
    }
    PyMem_Free(parts);
}

/* A part is bytes, or (column, None), or (column, what the ASCII characters become). */
static int part_begin(Part *part, PyObject *from, int column_count)
{
    part->column = -1;
    if (PyBytes_Check(from)) {
        part->literal = Py_NewRef(from);
        return DONE;
    }
    PyObject *texts;
    if (!PyArg_ParseTuple(from, "iO", &part->column, &texts))
        return FAILED;
    if (part->column < 0 || part->column >= column_count) {
        PyErr_SetString(PyExc_ValueError, "no such column");
        return FAILED;
    }
    if (texts == Py_None)
        return DONE;
    part->escapes = PyMem_Calloc(1, sizeof *part->escapes);
    if (part->escapes == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    int set = escapes_of_key(part->escapes, texts);
    if (set == UNUSUAL)
        PyErr_SetString(PyExc_ValueError, "no such key");
    return set == DONE ? DONE : FAILED;
}

static Part *parts_of(PyObject *from, int column_count, int *count)
{
    *count = 0;
    Part *parts = PyMem_Calloc((size_t)PyTuple_GET_SIZE(from) + 1, sizeof *parts);
    if (parts == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(from); i++) {
        *count = (int)i + 1;
        if (part_begin(parts + i, PyTuple_GET_ITEM(from, i), column_count) != DONE) {
            parts_free(parts, *count);
            *count = 0;
            return NULL;
        }
    }
    return parts;
}

static void plan_free(PyObject *self)
{
    Plan *plan = (Plan *)self;
    for (int i = 0; i < plan->column_count; i++)
        Py_XDECREF(plan->columns[i].extra);
    PyMem_Free(plan->columns);
    PyMem_Free(plan->cells);
    PyMem_Free(plan->old_cells);
    parts_free(plan->key, plan->key_count);
    parts_free(plan->value, plan->value_count);
    Py_XDECREF(plan->op);
    Py_XDECREF(plan->table);
    Py_XDECREF(plan->head);
    Py_XDECREF(plan->addresses);
    Py_XDECREF(plan->about);
    Py_XDECREF(plan->before);
    Py_XDECREF(plan->after);
    text_free(&plan->text);
    text_free(&plan->old_key);
    text_free(&plan->scratch);
    Py_TYPE(self)->tp_free(self);
}

static int plan_fill(Plan *plan, PyObject *columns, PyObject *key, PyObject *value)
{
    size_t count = (size_t)PyTuple_GET_SIZE(columns);
    plan->columns = PyMem_Calloc(count + 1, sizeof *plan->columns);
    plan->cells = PyMem_Calloc(count + 1, sizeof *plan->cells);
    plan->old_cells = PyMem_Calloc(count + 1, sizeof *plan->old_cells);
    if (plan->columns == NULL || plan->cells == NULL || plan->old_cells == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        plan->column_count = (int)i + 1;
        if (column_begin(plan->columns + i, PyTuple_GET_ITEM(columns, (Py_ssize_t)i)) != DONE)
            return FAILED;
    }
    plan->key = parts_of(key, plan->column_count, &plan->key_count);
    if (plan->key == NULL)
        return FAILED;
    plan->value = parts_of(value, plan->column_count, &plan->value_count);
    if (plan->value == NULL)
        return FAILED;
    return DONE;
}

static int present_in(PyObject *image)
{
    int count = 0;
    for (Py_ssize_t i = 0; i < PyBytes_GET_SIZE(image); i++)
        count += PyBytes_AS_STRING(image)[i] != 0;
    return count;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"op",  "table", "about",  "head",      "columns", "before", "after",
                            "key", "value", "single", "addresses", "watch",   "silent", NULL};
    PyObject *op, *table, *about, *head, *columns, *before, *after, *key, *value, *addresses;
    int single, watch, silent;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$UUSSO!SSO!O!pO!ip", names, &op, &table,
                                     &about, &head, &PyTuple_Type, &columns, &before, &after,
                                     &PyTuple_Type, &key, &PyTuple_Type, &value, &single,
                                     &PyTuple_Type, &addresses, &watch, &silent))
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(columns);
    if ((PyBytes_GET_SIZE(before) && PyBytes_GET_SIZE(before) != count) ||
        (PyBytes_GET_SIZE(after) && PyBytes_GET_SIZE(after) != count)) {
        PyErr_SetString(PyExc_ValueError, "an image of another number of columns");
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan == NULL)
        return NULL;
    plan->single = single;
    plan->watch = watch;
    plan->silent = silent != 0;
    plan->op = Py_NewRef(op);
    plan->table = Py_NewRef(table);
    plan->about = Py_NewRef(about);
    plan->head = Py_NewRef(head);
    plan->addresses = Py_NewRef(addresses);
    plan->before = Py_NewRef(before);
    plan->after = Py_NewRef(after);
    plan->before_count = present_in(before);
    plan->after_count = present_in(after);
    if (plan_fill(plan, columns, key, value) != DONE) {
        Py_DECREF(plan);
        return NULL;
    }
    return (PyObject *)plan;
}

/* -- one row --------------------------------------------------------------------------- */

static int read_image(const Plan *plan, PyObject *image, int count, const unsigned char **from,
                      const unsigned char *end, Cell *cells)
{
    const char *present = PyBytes_AS_STRING(image);
    const unsigned char *nulls = *from, *at = nulls + (count + 7) / 8;
    if (at > end)
        return UNUSUAL;
    int bit = -1;
    for (int i = 0; i < plan->column_count; i++) {
        const Column *column = plan->columns + i;
        cells[i] = (Cell){NULL, 0};
        if (!present[i])
            continue;
        bit++;
        if (nulls[bit >> 3] >> (bit & 7) & 1) {
            if (!column->nullable)
                return UNUSUAL;
            continue;
        }
        size_t size = (size_t)column->fixed_bytes;
        if (column->length_bytes) {
            if (end - at < column->length_bytes)
                return UNUSUAL;
            size = (size_t)little_endian(at, (size_t)column->length_bytes);
            at += column->length_bytes;
        }
        if ((size_t)(end - at) < size)
            return UNUSUAL;
        cells[i] = (Cell){at, size};
        at += size;
    }
    *from = at;
    return DONE;
}

static int write_key(Plan *plan, const Cell *cells, Text *to)
{
    for (const Part *part = plan->key; part < plan->key + plan->key_count; part++) {
        if (part->column < 0) {
            if (text_put(to, PyBytes_AS_STRING(part->literal),
                         (size_t)PyBytes_GET_SIZE(part->literal)) < 0)
                return FAILED;
            continue;
        }
        const Column *column = plan->columns + part->column;
        const Cell *cell = cells + part->column;
        if (cell->at == NULL)
            return UNUSUAL;
        bool escapes_itself = column->kind == TEXT || column->kind == LABEL ||
                              column->kind == CALLED || column->kind == JSON ||
                              column->kind == PRINTED;
        int put;
        if (part->escapes == NULL || escapes_itself) {
            put = column_text(column, cell, to, part->escapes ? part->escapes : &escaped_once);
        } else {
            plan->scratch.size = 0;
            put = column_text(column, cell, &plan->scratch, &escaped_once);
            if (put == DONE)
                put = text_escape(to, plan->scratch.data, plan->scratch.size, part->escapes, true);
        }
        if (put != DONE)
            return put;
    }
    return DONE;
}

/* The whole field; nothing for a delete and for a single column that is NULL. */
static int write_value(const Plan *plan, Text *to)
{
    const Part *end = plan->value + plan->value_count;
    for (const Part *part = plan->value; plan->single && part < end; part++)
        if (part->column >= 0 && plan->cells[part->column].at == NULL)
            return DONE;
    for (const Part *part = plan->value; part < end; part++) {
        const Column *column = plan->columns + part->column;
        const Cell *cell = plan->cells + part->column;
        int put;
        if (part->column < 0)
            put = text_put(to, PyBytes_AS_STRING(part->literal),
                           (size_t)PyBytes_GET_SIZE(part->literal));
        else
            put = plan->single ? column_text(column, cell, to, &escaped_once)
                               : column_token(column, cell, to);
        if (put != DONE)
            return put;
    }
    return DONE;
}

/* The key's columns are the same bytes in both images. */
static bool keeps_its_key(const Plan *plan)
{
    for (const Part *part = plan->key; part < plan->key + plan->key_count; part++) {
        if (part->column < 0)
            continue;
        const Cell *old = plan->old_cells + part->column, *new = plan->cells + part->column;
        if (old->at == NULL || new->at == NULL || old->size != new->size ||
            memcmp(old->at, new->at, old->size))
            return false;
    }
    return true;
}

int plan_keeps(Plan *plan, const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        int done = read_image(plan, plan->before, plan->before_count, &at, end, plan->old_cells);
        if (done == DONE)
            done = read_image(plan, plan->after, plan->after_count, &at, end, plan->cells);
        if (done != DONE)
            return done;
        if (!keeps_its_key(plan))
            return UNUSUAL;
    }
    return DONE;
}

static int write_old_key(Plan *plan, const Chain *chain, const char *key, size_t size, Text *to)
{
    plan->old_key.size = 0;
    int put = write_key(plan, plan->old_cells, &plan->old_key);
    if (put != DONE)
        return put;
    if (plan->old_key.size == size && !memcmp(plan->old_key.data, key, size))
        return DONE;
    if (chain->ends != NULL && chain_partition_of(chain, plan->old_key.data, plan->old_key.size) !=
                                    chain_partition_of(chain, key, size))
        return UNUSUAL; /* two messages: the row, and its old key's end */
    if (PUT_LITERAL(to, "\"old_key\":\"") < 0 ||
        text_put(to, plan->old_key.data, plan->old_key.size) < 0)
        return FAILED;
    return PUT_LITERAL(to, "\",");
}

/* Fields in the order of cdc.message.Change; `place` is the partition. */
static int write_body(Plan *plan, Chain *chain, uint64_t row, int *place)
{
    Text *to = &plan->text;
    to->size = 0;
    *place = 0;
    if (PUT_LITERAL(to, "{\"key\":\"") < 0)
        return FAILED;
    size_t key_at = to->size;
    int put = write_key(plan, PyBytes_GET_SIZE(plan->after) ? plan->cells : plan->old_cells, to);
    if (put != DONE)
        return put;
    size_t key_size = to->size - key_at;
    const ChainEnd *end = NULL;
    if (chain->ends != NULL) {
        if ((*place = chain_partition_of(chain, to->data + key_at, key_size)) < 0)
            return UNUSUAL;
        end = chain->ends + *place;
    }
    if (PUT_LITERAL(to, "\",") < 0)
        return FAILED;
    if ((put = write_value(plan, to)) != DONE)
        return put;
    if (text_put(to, PyBytes_AS_STRING(plan->about), (size_t)PyBytes_GET_SIZE(plan->about)) < 0)
        return FAILED;
    bool is_update = PyBytes_GET_SIZE(plan->before) && PyBytes_GET_SIZE(plan->after);
    if (is_update && !keeps_its_key(plan)) {
        if (plan->watched)
            return UNUSUAL;
        /* `to` may move while it grows; the key is found by its offset. */
        Text key = {0};
        if (text_put(&key, to->data + key_at, key_size) < 0)
            return FAILED;
        put = write_old_key(plan, chain, key.data, key.size, to);
        text_free(&key);
        if (put != DONE)
            return put;
    }
    size_t id_size = chain->prefix_size + digits_of(chain->id + chain->prefix_size, row);
    if (text_put(to, chain->middle, chain->middle_size) < 0 ||
        text_put(to, chain->id, id_size) < 0 || PUT_LITERAL(to, "\",\"prev\":\"") < 0 ||
        text_put(to, end ? end->prev : chain->prev, end ? end->prev_size : chain->prev_size) <
            0 ||
        text_put(to, chain->tail, chain->tail_size) < 0)
        return FAILED;
    return chain_prev(chain, chain->id, id_size);
}

static int append_text(Plan *plan, PyObject *out)
{
    PyObject *body = PyBytes_FromStringAndSize(plan->text.data, (Py_ssize_t)plan->text.size);
    if (body == NULL)
        return FAILED;
    int appended = PyList_Append(out, body);
    Py_DECREF(body);
    return appended < 0 ? FAILED : DONE;
}

/* -- rows ------------------------------------------------------------------------------ */

static int take_back(PyObject *out, Py_ssize_t held, int why)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    int cut = PyList_SetSlice(out, held, PyList_GET_SIZE(out), NULL);
    if (type != NULL)
        PyErr_Restore(type, value, trace);
    return cut < 0 ? FAILED : why;
}

/* Append the row's message, and where it goes. */
static int append_row(Plan *plan, Chain *chain, uint64_t row, PyObject *out, PyObject *addresses)
{
    int place, done = write_body(plan, chain, row, &place);
    if (done == DONE)
        done = append_text(plan, out);
    if (done != DONE || chain->ends == NULL)
        return done;
    chain_end_move(chain, chain->ends + place);
    return PyList_Append(addresses, PyTuple_GET_ITEM(plan->addresses, place)) < 0 ? FAILED : DONE;
}

int plan_rows(Plan *plan, const unsigned char *at, const unsigned char *end, uint64_t *row,
              Chain *chain, PyObject *out, PyObject *addresses)
{
    Py_ssize_t held = PyList_GET_SIZE(out);
    uint64_t number = *row;
    if (chain->ends != NULL && PyTuple_GET_SIZE(plan->addresses) != chain->partition_count)
        return UNUSUAL;
    chain->event++;
    while (at < end) {
        int done = DONE;
        if (PyBytes_GET_SIZE(plan->before))
            done = read_image(plan, plan->before, plan->before_count, &at, end, plan->old_cells);
        if (done == DONE && PyBytes_GET_SIZE(plan->after))
            done = read_image(plan, plan->after, plan->after_count, &at, end, plan->cells);
        if (done == DONE)
            done = append_row(plan, chain, number, out, addresses);
        if (done != DONE) {
            if (chain->ends != NULL) {
                chain_ends_take_back(chain);
                done = take_back(addresses, held, done);
            }
            return take_back(out, held, done);
        }
        number++;
    }
    *row = number;
    return DONE;
}

static int selected_cells(Plan *plan, PyObject *row)
{
    if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) < plan->column_count)
        return UNUSUAL;
    for (int i = 0; i < plan->column_count; i++) {
        PyObject *value = PyTuple_GET_ITEM(row, i);
        plan->cells[i] = (Cell){NULL, 0};
        if (PyBytes_Check(value))
            plan->cells[i] = (Cell){(const unsigned char *)PyBytes_AS_STRING(value),
                                    (size_t)PyBytes_GET_SIZE(value)};
        else if (value != Py_None)
            return UNUSUAL;
    }
    return DONE;
}

/* {"key":"…","value":"…"} */
static int write_selected(Plan *plan)
{
    Text *to = &plan->text;
    to->size = 0;
    if (PUT_LITERAL(to, "{\"key\":\"") < 0)
        return FAILED;
    int put = write_key(plan, plan->cells, to);
    if (put == DONE && PUT_LITERAL(to, "\"") < 0)
        return FAILED;
    if (put == DONE)
        put = write_value(plan, to);
    return put != DONE ? put : PUT_LITERAL(to, "}");
}

static int plan_selected(Plan *plan, PyObject *rows, PyObject *out)
{
    Py_ssize_t held = PyList_GET_SIZE(out);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(rows); i++) {
        int done = selected_cells(plan, PySequence_Fast_GET_ITEM(rows, i));
        if (done == DONE)
            done = write_selected(plan);
        if (done == DONE)
            done = append_text(plan, out);
        if (done != DONE)
            return take_back(out, held, done);
    }
    return DONE;
}

static PyObject *method_rows(PyObject *self, PyObject *args)
{
    Chain chain = {0};
    const char *buffer, *prefix, *prev;
    Py_ssize_t buffer_size, at, end, prefix_size, prev_size, middle_size, tail_size;
    unsigned long long row;
    PyObject *out, *last_of, *addresses;
    if (!PyArg_ParseTuple(args, "y#nnKs#s#s#s#O!OO", &buffer, &buffer_size, &at, &end, &row,
                          &prefix, &prefix_size, &prev, &prev_size, &chain.middle, &middle_size,
                          &chain.tail, &tail_size, &PyList_Type, &out, &last_of, &addresses))
        return NULL;
    chain.middle_size = (size_t)middle_size, chain.tail_size = (size_t)tail_size;
    uint64_t number = row;
    bool several = PyList_Check(last_of) && PyList_Check(addresses);
    int done = at < 0 || at > end || end > buffer_size ||
                       (several && PyList_GET_SIZE(addresses) != PyList_GET_SIZE(out))
                   ? UNUSUAL
                   : chain_prefix(&chain, prefix, (size_t)prefix_size);
    if (done == DONE)
        done = chain_prev(&chain, prev, (size_t)prev_size);
    if (done == DONE && several)
        done = chain_ends_from(&chain, last_of);
    ((Plan *)self)->watched = false; /* the caller has looked at it */
    if (done == DONE)
        done = plan_rows((Plan *)self, (const unsigned char *)buffer + at,
                         (const unsigned char *)buffer + end, &number, &chain, out, addresses);
    if (done == DONE && several)
        done = chain_ends_to(&chain, last_of);
    PyMem_Free(chain.ends);
    if (done == FAILED)
        return NULL;
    if (done == UNUSUAL)
        Py_RETURN_NONE;
    return Py_BuildValue("Ks#", (unsigned long long)number, chain.prev,
                         (Py_ssize_t)chain.prev_size);
}

static PyObject *method_selected(PyObject *self, PyObject *args)
{
    PyObject *rows, *out;
    if (!PyArg_ParseTuple(args, "OO!", &rows, &PyList_Type, &out) ||
        (rows = PySequence_Fast(rows, "rows are a list")) == NULL)
        return NULL;
    int done = plan_selected((Plan *)self, rows, out);
    Py_DECREF(rows);
    return done == FAILED ? NULL : PyBool_FromLong(done == DONE);
}

static PyMemberDef MEMBERS[] = {
    {"head", T_OBJECT_EX, offsetof(Plan, head), READONLY, "What such an event begins with."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef METHODS[] = {
    {"rows", method_rows, METH_VARARGS,
     "rows(buffer, at, end, row, prefix, prev, middle, tail, out, last_of, addresses): one body "
     "for each row of an event; None: left to the generated function."},
    {"selected", method_selected, METH_VARARGS,
     "selected(rows, out): the key and value of each row of a SELECT; False: left as well."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject PlanType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "cdc_reader._native.Plan",
    .tp_doc = "What the rows of one table become; made by cdc_reader.rows.row_plan.",
    .tp_basicsize = sizeof(Plan),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = plan_new,
    .tp_dealloc = plan_free,
    .tp_methods = METHODS,
    .tp_members = MEMBERS,
};
