/* What the rows of one table become, and the rows themselves. */

#ifndef CDC_PLAN_H
#define CDC_PLAN_H

#include "column.h"

/* The end of one partition's chain, and what it was before the event that is being read. */
typedef struct {
    char prev[160], before[160];
    size_t prev_size, before_size;
    uint64_t event; /* that moved it last */
} Lane;

/* The chain of messages that the rows are put behind. */
typedef struct {
    const char *middle, *tail; /* before the id, and behind the one before it */
    size_t middle_size, tail_size;
    char id[160], prev[160];
    size_t prefix_size, prev_size; /* of `id` without the row's number */
    Lane *lanes; /* of several partitions */
    uint32_t lane_count;
    uint64_t event; /* number of the one that is being read */
} Chain;

int chain_prefix(Chain *chain, const char *prefix, size_t size);
int chain_prev(Chain *chain, const char *prev, size_t size);
/* Take the ends of several partitions' chains over from a list of str, and give them back. */
int chain_lanes(Chain *chain, PyObject *last_of);
int chain_lanes_to(const Chain *chain, PyObject *last_of);

typedef struct {
    int column; /* -1: literal text */
    PyObject *literal;
    Escapes *escapes; /* NULL: those of JSON alone */
} Part;

typedef struct {
    PyObject_HEAD
    PyObject *op, *table; /* str */
    PyObject *head;       /* what a rows event begins with: number of columns, bitmaps */
    PyObject *about;      /* "op":"update","table":"shop.users", */
    PyObject *addresses;  /* bytes of each partition, such as update.2 */
    PyObject *before, *after; /* bytes: which columns the images have; empty: no such image */
    Column *columns;
    Cell *old_cells, *cells;
    int column_count, before_count, after_count;
    Part *key, *value;
    int key_count, value_count; /* of the value: literals and columns in turn */
    int single;                 /* the value is one column's text, not the row's object */
    Text text, old_key, scratch;
} Plan;

extern PyTypeObject PlanType;

/* Append one body to `out` for each row of an event, with several partitions its address to
   `addresses`; both and the chain are as they were unless DONE. */
int plan_rows(Plan *plan, const unsigned char *at, const unsigned char *end, uint64_t *row,
              Chain *chain, PyObject *out, PyObject *addresses);

#endif
