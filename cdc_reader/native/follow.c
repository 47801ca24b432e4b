/* Whole packets of the dump, as long as they are the usual ones.

   Nearly every transaction is GTID, BEGIN, TABLE_MAP, rows, XID.  These are taken here, each
   with the effect that cdc_reader/publish/transaction.py gives it; at anything else this stops in front
   of it, with the state as it is there, and the Python code resumes.  So every refusal,
   rare event and unclear case is handled there, and none here.

   Layouts: as in cdc_reader/binlog/packet.py, event.py. */

#include "crc.h"
#include "plan.h"

enum {
    QUERY = 2,
    XID = 16,
    TABLE_MAP = 19,
    WRITE_ROWS_V1 = 23,
    DELETE_ROWS_V1 = 25,
    ROWS_QUERY = 29,
    WRITE_ROWS = 30,
    DELETE_ROWS = 32,
    GTID = 33,
    ANONYMOUS_GTID = 34,
    MARIADB_ANNOTATE = 160,
    MARIADB_GTID = 162,
};

#define HEADER_BYTES 19
#define FL_PREPARED_XA 64
/* Of a rows event: see WITHOUT_CASCADES in cdc_reader/rows/parent_rows.py. */
#define WITHOUT_CASCADES 0x12
#define COMMIT_TIME_BITS (((uint64_t)1 << 55) - 1)

typedef struct {
    unsigned kind;
    const unsigned char *body, *end; /* without header and checksum */
    uint32_t timestamp_s, server_id, size_bytes, end_offset;
} Event;

typedef struct {
    unsigned char sid[16];
    uint64_t first, last;
} Range;

/* State of the reading; the names are those of the Assembler. */
typedef struct {
    uint64_t end;
    int in_transaction, begun;
    uint64_t messages, event_us;
    Chain chain;
    Text middle, tail; /* of the open transaction */
    char gtid[64];
    size_t gtid_size;
    const unsigned char *sid; /* of the open transaction, where it began here; NULL: elsewhere */
    uint64_t number;
    long long committed; /* newest boundary; -1: none was passed */
    Range newest;        /* committed transactions of one server in a row */
    bool ranged;
    PyObject *commits, *runs;
    /* What was found last: rows of one table come one after the other. */
    const unsigned char *map;
    size_t map_size;
    PyObject *codec; /* borrowed from by_map */
    Plan *plan;      /* borrowed from the codec */
    int plan_op;
    PyObject *run_op, *run_table, *bodies, *addresses; /* of the newest run; borrowed */
    PyObject *by_map, *by_id;
    const char *id_head;
    Py_ssize_t id_head_size;
} Follow;

/* -- the parts of an event --------------------------------------------------------------- */

static int next_event(const unsigned char *at, size_t size, bool checksum, Event *event)
{
    if (size < 4)
        return UNUSUAL;
    size_t length = (size_t)little_endian(at, 3), crc_bytes = checksum ? 4 : 0;
    if (length >= 0xFFFFFF || length + 4 > size || length < 1 + HEADER_BYTES + crc_bytes ||
        at[4] != 0)
        return UNUSUAL;
    const unsigned char *header = at + 5, *end = at + 4 + length - crc_bytes;
    event->timestamp_s = (uint32_t)little_endian(header, 4);
    event->kind = header[4];
    event->server_id = (uint32_t)little_endian(header + 5, 4);
    event->size_bytes = (uint32_t)little_endian(header + 9, 4);
    event->end_offset = (uint32_t)little_endian(header + 13, 4);
    event->body = header + HEADER_BYTES;
    event->end = end;
    if (event->size_bytes != length - 1)
        return UNUSUAL;
    if (checksum && crc_of(header, (size_t)(end - header)) != (uint32_t)little_endian(end, 4))
        return UNUSUAL;
    return DONE;
}

/* The header has 32 bits for the offset, and a file can be longer; inside a transaction
   MariaDB writes 0. */
static uint64_t end_after(const Follow *f, const Event *event)
{
    uint64_t low = event->end_offset, two_gib = (uint64_t)1 << 31;
    if (!low)
        return f->in_transaction ? f->end + event->size_bytes : f->end;
    uint64_t end = (f->end & ~(uint64_t)0xFFFFFFFF) | low;
    return end + two_gib >= f->end ? end : end + 2 * two_gib;
}

static int write_frame(Follow *f)
{
    f->middle.size = f->tail.size = 0;
    char digits[20];
    size_t size = digits_of(digits, f->event_us);
    if (f->gtid_size && (PUT_LITERAL(&f->middle, "\"gtid\":\"") < 0 ||
                         text_put(&f->middle, f->gtid, f->gtid_size) < 0 ||
                         PUT_LITERAL(&f->middle, "\",") < 0))
        return FAILED;
    if (PUT_LITERAL(&f->middle, "\"id\":\"") < 0 || PUT_LITERAL(&f->tail, "\",\"ts\":") < 0 ||
        text_put(&f->tail, digits, size) < 0 || PUT_LITERAL(&f->tail, ",\"v\":1}") < 0)
        return FAILED;
    return DONE;
}

static void uuid_text(char *to, const unsigned char *sid)
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[sid[i] >> 4];
        *to++ = hex[sid[i] & 15];
    }
}

static int begin(Follow *f, const Event *event)
{
    const unsigned char *b = event->body;
    size_t size = (size_t)(event->end - b);
    uint64_t now_us = (uint64_t)event->timestamp_s * 1000000, commit_us = 0;
    if (event->kind == MARIADB_GTID) {
        if (size < 13 || b[12] & FL_PREPARED_XA)
            return UNUSUAL;
        f->gtid_size = digits_of(f->gtid, little_endian(b + 8, 4));
        f->gtid[f->gtid_size++] = '-';
        f->gtid_size += digits_of(f->gtid + f->gtid_size, event->server_id);
        f->gtid[f->gtid_size++] = '-';
        f->gtid_size += digits_of(f->gtid + f->gtid_size, little_endian(b, 8));
        f->begun = !(b[12] & 1);
        f->sid = NULL;
    } else {
        if (size < 25)
            return UNUSUAL;
        if (size >= 50 && b[25] == 2)
            commit_us = little_endian(b + 42, 8) & COMMIT_TIME_BITS;
        f->begun = false;
        f->gtid_size = 0;
        f->sid = NULL;
        if (event->kind == GTID) {
            f->sid = b + 1;
            f->number = little_endian(b + 17, 8);
            uuid_text(f->gtid, f->sid);
            f->gtid[36] = ':';
            f->gtid_size = 37 + digits_of(f->gtid + 37, f->number);
        }
    }
    f->event_us = commit_us ? commit_us : now_us;
    f->in_transaction = true;
    f->messages = 0;
    return write_frame(f);
}

static int note_range(Follow *f)
{
    if (!f->ranged)
        return DONE;
    char name[36];
    uuid_text(name, f->newest.sid);
    f->ranged = false;
    PyObject *range = Py_BuildValue("s#KK", name, (Py_ssize_t)36,
                                    (unsigned long long)f->newest.first,
                                    (unsigned long long)f->newest.last + 1);
    if (range == NULL)
        return FAILED;
    int appended = PyList_Append(f->commits, range);
    Py_DECREF(range);
    return appended < 0 ? FAILED : DONE;
}

/* Note the transaction as executed: ("uuid", first, last + 1), or its GTID as text. */
static int note_commit(Follow *f)
{
    if (f->sid != NULL) {
        if (f->ranged && f->number == f->newest.last + 1 && !memcmp(f->newest.sid, f->sid, 16)) {
            f->newest.last = f->number;
            return DONE;
        }
        if (note_range(f) != DONE)
            return FAILED;
        memcpy(f->newest.sid, f->sid, 16);
        f->newest.first = f->newest.last = f->number;
        f->ranged = true;
        return DONE;
    }
    if (!f->gtid_size)
        return DONE;
    if (note_range(f) != DONE)
        return FAILED;
    PyObject *gtid = PyUnicode_FromStringAndSize(f->gtid, (Py_ssize_t)f->gtid_size);
    if (gtid == NULL)
        return FAILED;
    int appended = PyList_Append(f->commits, gtid);
    Py_DECREF(gtid);
    return appended < 0 ? FAILED : DONE;
}

/* -- rows ---------------------------------------------------------------------------------- */

static int table_map(Follow *f, const Event *event)
{
    size_t size = (size_t)(event->end - event->body);
    if (size < 8)
        return UNUSUAL;
    if (f->map != NULL && f->map_size == size && !memcmp(f->map, event->body, size))
        return DONE;
    PyObject *body = PyBytes_FromStringAndSize((const char *)event->body + 8,
                                               (Py_ssize_t)size - 8);
    if (body == NULL)
        return FAILED;
    PyObject *codec = PyDict_GetItemWithError(f->by_map, body);
    Py_DECREF(body);
    if (codec == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    PyObject *id = PyBytes_FromStringAndSize((const char *)event->body, 6);
    if (id == NULL)
        return FAILED;
    int set = PyDict_SetItem(f->by_id, id, codec);
    Py_DECREF(id);
    if (set < 0)
        return FAILED;
    f->map = event->body;
    f->map_size = size;
    f->codec = codec;
    f->plan = NULL;
    return DONE;
}

static int find_codec(Follow *f, const unsigned char *table_id)
{
    if (f->map != NULL && !memcmp(f->map, table_id, 6))
        return DONE;
    PyObject *id = PyBytes_FromStringAndSize((const char *)table_id, 6);
    if (id == NULL)
        return FAILED;
    PyObject *codec = PyDict_GetItemWithError(f->by_id, id);
    Py_DECREF(id);
    if (codec == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    f->map = NULL;
    f->codec = codec;
    f->plan = NULL;
    return DONE;
}

/* The plan for an operation, which RowCodec.plans has once Python has seen such an event; none
   where it is False: such rows are not looked at. */
static int find_plan(Follow *f, int op)
{
    if (f->plan != NULL && f->plan_op == op)
        return DONE;
    f->plan = NULL;
    PyObject *plans = PyObject_GetAttrString(f->codec, "plans");
    if (plans == NULL)
        return FAILED;
    PyObject *number = PyLong_FromLong(op);
    PyObject *plan = number && PyDict_Check(plans) ? PyDict_GetItemWithError(plans, number) : NULL;
    Py_XDECREF(number);
    Py_DECREF(plans); /* the codec keeps it, and it the plan */
    if (plan == Py_False)
        return DONE;
    if (plan == NULL || !Py_IS_TYPE(plan, &PlanType))
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    f->plan = (Plan *)plan;
    f->plan_op = op;
    return DONE;
}

static int find_bodies(Follow *f)
{
    if (f->bodies != NULL && f->run_op == f->plan->op && f->run_table == f->plan->table)
        return DONE;
    PyObject *bodies = PyList_New(0);
    PyObject *addresses = f->chain.ends ? PyList_New(0) : Py_NewRef(Py_None);
    PyObject *run = bodies && addresses
                        ? PyTuple_Pack(4, f->plan->op, f->plan->table, bodies, addresses)
                        : NULL;
    Py_XDECREF(bodies);
    Py_XDECREF(addresses);
    if (run == NULL)
        return FAILED;
    int appended = PyList_Append(f->runs, run);
    Py_DECREF(run);
    if (appended < 0)
        return FAILED;
    f->run_op = f->plan->op;
    f->run_table = f->plan->table;
    f->bodies = bodies;
    f->addresses = addresses;
    return DONE;
}

static int rows(Follow *f, const Event *event, bool v1, int op, uint64_t end)
{
    const unsigned char *b = event->body;
    size_t size = (size_t)(event->end - b);
    if (size < 10)
        return UNUSUAL;
    int found = find_codec(f, b);
    if (found != DONE)
        return found;
    if (f->codec == Py_None)
        return DONE;
    if ((found = find_plan(f, op)) != DONE || f->plan == NULL)
        return found;
    f->plan->watched = f->plan->watch && !(b[6] & WITHOUT_CASCADES);
    if (f->plan->watch > 1 && f->plan->watched)
        return UNUSUAL;
    if (f->plan->silent && !f->plan->watched)
        return DONE;
    size_t extra = v1 ? 8 : 8 + (size_t)little_endian(b + 8, 2);
    size_t head_size = (size_t)PyBytes_GET_SIZE(f->plan->head);
    if (extra + head_size > size ||
        memcmp(b + extra, PyBytes_AS_STRING(f->plan->head), head_size))
        return UNUSUAL;
    if (f->plan->silent)
        return plan_keeps(f->plan, b + extra + head_size, event->end);
    char prefix[160];
    if ((size_t)f->id_head_size + 21 > sizeof prefix)
        return UNUSUAL;
    memcpy(prefix, f->id_head, (size_t)f->id_head_size);
    size_t prefix_size = (size_t)f->id_head_size;
    prefix_size += digits_of(prefix + prefix_size, end - event->size_bytes);
    prefix[prefix_size++] = '.';
    if ((found = chain_prefix(&f->chain, prefix, prefix_size)) != DONE ||
        (found = find_bodies(f)) != DONE)
        return found;
    f->chain.middle = f->middle.data, f->chain.middle_size = f->middle.size;
    f->chain.tail = f->tail.data, f->chain.tail_size = f->tail.size;
    Chain before;
    memcpy(before.prev, f->chain.prev, before.prev_size = f->chain.prev_size);
    uint64_t row = 0;
    int done = plan_rows(f->plan, b + extra + head_size, event->end, &row, &f->chain, f->bodies,
                         f->addresses);
    if (done != DONE)
        memcpy(f->chain.prev, before.prev, f->chain.prev_size = before.prev_size);
    else
        f->messages += row;
    return done;
}

/* -- events -------------------------------------------------------------------------------- */

static int take(Follow *f, const Event *event)
{
    static const char begin_text[] = "\0BEGIN";
    uint64_t end = end_after(f, event);
    int done = DONE;
    switch (event->kind) {
    case GTID:
    case ANONYMOUS_GTID:
    case MARIADB_GTID:
        done = begin(f, event);
        break;
    case QUERY:
        if (event->end - event->body < 6 || memcmp(event->end - 6, begin_text, 6))
            return UNUSUAL;
        f->begun = true;
        break;
    case TABLE_MAP:
        done = table_map(f, event);
        break;
    case ROWS_QUERY:
    case MARIADB_ANNOTATE:
        if (!f->in_transaction)
            return UNUSUAL;
        break;
    case XID:
        f->in_transaction = f->begun = false;
        f->committed = (long long)end;
        done = note_commit(f);
        break;
    default:
        if (event->kind >= WRITE_ROWS && event->kind <= DELETE_ROWS)
            done = rows(f, event, false, (int)event->kind - WRITE_ROWS, end);
        else if (event->kind >= WRITE_ROWS_V1 && event->kind <= DELETE_ROWS_V1)
            done = rows(f, event, true, (int)event->kind - WRITE_ROWS_V1, end);
        else
            return UNUSUAL;
    }
    if (done == DONE)
        f->end = end;
    return done;
}

/* The fields of Followed in cdc_reader/publish/transaction.py, in its order. */
static PyObject *follow_answer(Follow *f, Py_ssize_t at)
{
    if (note_range(f) != DONE)
        return NULL;
    /* Of middle and tail, the parts that the Assembler keeps: without "id":" and the quote. */
    return Py_BuildValue(
        "(nKOOKKs#s#s#s#LOO)", at, (unsigned long long)f->end,
        f->in_transaction ? Py_True : Py_False, f->begun ? Py_True : Py_False,
        (unsigned long long)f->messages, (unsigned long long)f->event_us, f->gtid,
        (Py_ssize_t)f->gtid_size, f->middle.data, (Py_ssize_t)f->middle.size - 6,
        f->tail.data + 1, (Py_ssize_t)f->tail.size - 1, f->chain.prev,
        (Py_ssize_t)f->chain.prev_size, f->committed, f->commits, f->runs);
}

static int follow_begin(Follow *f, const char *gtid, Py_ssize_t gtid_size, const char *context,
                        Py_ssize_t context_size, const char *suffix, Py_ssize_t suffix_size,
                        const char *last, Py_ssize_t last_size)
{
    if ((size_t)gtid_size > sizeof f->gtid || (f->commits = PyList_New(0)) == NULL ||
        (f->runs = PyList_New(0)) == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    memcpy(f->gtid, gtid, f->gtid_size = (size_t)gtid_size);
    if (text_put(&f->middle, context, (size_t)context_size) < 0 ||
        PUT_LITERAL(&f->middle, "\"id\":\"") < 0 || PUT_LITERAL(&f->tail, "\"") < 0 ||
        text_put(&f->tail, suffix, (size_t)suffix_size) < 0)
        return FAILED;
    return chain_prev(&f->chain, last, (size_t)last_size);
}

PyObject *follow(PyObject *module, PyObject *args)
{
    (void)module;
    Follow f = {.committed = -1};
    const char *buffer, *gtid, *context, *suffix, *last;
    Py_ssize_t size, at, gtid_size, context_size, suffix_size, last_size;
    int checksum;
    unsigned long long end, messages, event_us;
    PyObject *last_of;
    if (!PyArg_ParseTuple(args, "y#nps#KppKKs#s#s#s#O!O!O", &buffer, &size, &at, &checksum,
                          &f.id_head, &f.id_head_size, &end, &f.in_transaction, &f.begun,
                          &messages, &event_us, &gtid, &gtid_size, &context, &context_size,
                          &suffix, &suffix_size, &last, &last_size, &PyDict_Type, &f.by_map,
                          &PyDict_Type, &f.by_id,
                          &last_of))
        return NULL;
    f.end = end, f.messages = messages, f.event_us = event_us;
    int begun = follow_begin(&f, gtid, gtid_size, context, context_size, suffix, suffix_size,
                             last, last_size);
    if (begun == DONE && PyList_Check(last_of))
        begun = chain_ends_from(&f.chain, last_of);
    int done = begun;
    while (done == DONE && at < size) {
        Event event;
        const unsigned char *packet = (const unsigned char *)buffer + at;
        done = next_event(packet, (size_t)(size - at), checksum, &event);
        if (done == DONE)
            done = take(&f, &event);
        if (done == DONE)
            at += 4 + (Py_ssize_t)little_endian(packet, 3);
    }
    if (begun == DONE && done != FAILED && chain_ends_to(&f.chain, last_of) != DONE)
        done = FAILED;
    PyObject *answer = NULL;
    if (begun == DONE && done != FAILED)
        answer = follow_answer(&f, at);
    else if (done != FAILED)
        answer = Py_NewRef(Py_None);
    text_free(&f.middle);
    text_free(&f.tail);
    PyMem_Free(f.chain.ends);
    Py_XDECREF(f.commits);
    Py_XDECREF(f.runs);
    return answer;
}
