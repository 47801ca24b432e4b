/* What the rows of one table become, and the rows themselves. */

#ifndef CDC_PLAN_H
#define CDC_PLAN_H

#include "chain.h"
#include "column.h"

typedef struct {
    int column; /* -1: literal text */
    PyObject *literal;
    Escapes *escapes; /* NULL: only those of JSON */
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
    int watch;  /* of a parent: 1: rows whose key changes are unusual, 2: all are; see `watched` */
    bool silent; /* of a parent that is not captured: no message is made */
    bool watched; /* `watch` counts for the event that is read */
    Text text, old_key, scratch;
} Plan;

extern PyTypeObject PlanType;

/* Append one body to `out` for each row of an event, with several partitions its address to
   `addresses`; both and the chain are as they were unless DONE. */
int plan_rows(Plan *plan, const unsigned char *at, const unsigned char *end, uint64_t *row,
              Chain *chain, PyObject *out, PyObject *addresses);

/* DONE where the key's columns stay the same in all rows of an event; nothing is written. */
int plan_keeps(Plan *plan, const unsigned char *at, const unsigned char *end);

#endif
