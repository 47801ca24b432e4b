/* One column of a row: where its bytes are, and the text that they become. */

#ifndef CDC_COLUMN_H
#define CDC_COLUMN_H

#include "text.h"

enum kind {
    INTEGER,   /* detail: 1 unsigned */
    YEAR,
    DOUBLE,
    DECIMAL,   /* detail: precision * 256 + scale */
    DATE,
    DATETIME,  /* detail: digits of the fraction */
    TIMESTAMP, /* the same */
    LABEL,     /* ENUM; extra: labels in UTF-8, that of 0 first */
    TEXT,      /* detail: 1 only ASCII */
    JSON,      /* extra: the function for what is unusual */
    CALLED,    /* extra: function from the bytes to the text */
    /* As SELECT prints them: */
    PRINTED,          /* as it is */
    PRINTED_DATETIME,
    PRINTED_TIMESTAMP,
    KINDS
};

typedef struct {
    int kind, detail;
    int fixed_bytes, length_bytes; /* in a row image: one of them is not 0 */
    int nullable, quoted;
    PyObject *extra;
} Column;

typedef struct {
    const unsigned char *at; /* NULL: the value is NULL */
    size_t size;
} Cell;

/* spec: (kind, detail, fixed_bytes, length_bytes, nullable, quoted, extra) */
int column_begin(Column *column, PyObject *spec);

/* The text of a value that is not NULL, with the characters as `escapes` has them. */
int column_text(const Column *column, const Cell *cell, Text *to, const Escapes *escapes);

/* The value's token in the JSON object of its row, which itself is in a JSON string. */
int column_token(const Column *column, const Cell *cell, Text *to);

static inline uint64_t big_endian(const unsigned char *at, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | at[i];
    return number;
}

static inline uint64_t little_endian(const unsigned char *at, size_t size)
{
    uint64_t number = 0;
    for (size_t i = size; i > 0; i--)
        number = number << 8 | at[i - 1];
    return number;
}

#endif
