/* The layouts and texts of cdc_reader/rows/column_source.py and value.py, which stay the reference:
   what is not plainly as it should be is UNUSUAL, and carried or refused there. */

#include "column.h"

#include "json.h"

static const uint64_t POWERS[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
                                  1000000000};
static const int DIGIT_BYTES[] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};

/* Bytes that reading the value takes for granted; -1: any. */
static int needed_bytes(const Column *column)
{
    int precision = column->detail >> 8, scale = column->detail & 0xFF, whole = precision - scale;
    switch (column->kind) {
    case YEAR:
        return 1;
    case DOUBLE:
        return 8;
    case DATE:
        return 3;
    case DATETIME:
        return 5 + (column->detail + 1) / 2;
    case TIMESTAMP:
        return 4 + (column->detail + 1) / 2;
    case DECIMAL:
        return whole / 9 * 4 + DIGIT_BYTES[whole % 9] + scale / 9 * 4 + DIGIT_BYTES[scale % 9];
    default:
        return -1;
    }
}

static bool is_sound(const Column *column)
{
    if (column->kind < 0 || column->kind >= KINDS || column->length_bytes < 0 ||
        column->length_bytes > 4 || column->fixed_bytes < 0)
        return false;
    if (column->kind == DECIMAL) {
        int precision = column->detail >> 8, scale = column->detail & 0xFF;
        if (precision < 1 || precision > 65 || scale > precision)
            return false;
    } else if (column->kind == DATETIME || column->kind == TIMESTAMP) {
        if (column->detail < 0 || column->detail > 6)
            return false;
    } else if (column->kind == INTEGER || column->kind == LABEL) {
        return column->fixed_bytes >= 1 && column->fixed_bytes <= 8;
    } else if ((column->kind == CALLED || column->kind == JSON) &&
               !PyCallable_Check(column->extra)) {
        return false;
    }
    int needed = needed_bytes(column);
    return needed < 0 || needed == column->fixed_bytes;
}

int column_begin(Column *column, PyObject *spec)
{
    if (!PyArg_ParseTuple(spec, "iiiiiiO", &column->kind, &column->detail, &column->fixed_bytes,
                          &column->length_bytes, &column->nullable, &column->quoted,
                          &column->extra))
        return FAILED;
    if (!is_sound(column)) {
        column->extra = NULL;
        PyErr_SetString(PyExc_ValueError, "no such column");
        return FAILED;
    }
    Py_INCREF(column->extra);
    return DONE;
}

static int integer(const Column *column, const Cell *cell, Text *to)
{
    uint64_t number = little_endian(cell->at, cell->size);
    if (text_room(to, 21) < 0)
        return FAILED;
    if (!column->detail && number >> (8 * cell->size - 1)) {
        uint64_t all = cell->size == 8 ? ~(uint64_t)0 : ((uint64_t)1 << 8 * cell->size) - 1;
        number = (~number + 1) & all;
        to->data[to->size++] = '-';
    }
    to->size += digits_of(to->data + to->size, number);
    return DONE;
}

typedef struct {
    const unsigned char *at;
    bool negative, first;
} Groups;

/* The next group of a DECIMAL, of 1 to 9 digits; UINT64_MAX: one with a digit too many.
   A negative number has all its bits inverted, and the very first bit tells which it is. */
static uint64_t next_group(Groups *groups, int digits)
{
    int size = DIGIT_BYTES[digits];
    uint64_t group = big_endian(groups->at, (size_t)size);
    if (groups->negative)
        group ^= ((uint64_t)1 << 8 * size) - 1;
    if (groups->first)
        group ^= (uint64_t)0x80 << 8 * (size - 1);
    groups->first = false;
    groups->at += size;
    return group < POWERS[digits] ? group : UINT64_MAX;
}

static int decimal(const Column *column, const Cell *cell, Text *to)
{
    int scale = column->detail & 0xFF, whole = (column->detail >> 8) - scale;
    Groups groups = {cell->at, cell->at[0] < 0x80, true};
    bool any = false;
    if (text_room(to, 80) < 0)
        return FAILED;
    if (groups.negative)
        to->data[to->size++] = '-';
    /* Before the point the short group is the first, after it the last. */
    for (int left = whole, digits; left > 0; left -= digits) {
        digits = left % 9 ? left % 9 : 9;
        uint64_t group = next_group(&groups, digits);
        if (group == UINT64_MAX)
            return UNUSUAL;
        if (any) {
            padded_digits(to->data + to->size, group, digits);
            to->size += (size_t)digits;
        } else if (group) {
            to->size += digits_of(to->data + to->size, group);
            any = true;
        }
    }
    if (!any)
        to->data[to->size++] = '0';
    if (scale)
        to->data[to->size++] = '.';
    for (int left = scale, digits; left > 0; left -= digits) {
        digits = left < 9 ? left : 9;
        uint64_t group = next_group(&groups, digits);
        if (group == UINT64_MAX)
            return UNUSUAL;
        padded_digits(to->data + to->size, group, digits);
        to->size += (size_t)digits;
    }
    return DONE;
}

static int floating(const Cell *cell, Text *to)
{
    double number;
    memcpy(&number, cell->at, sizeof number);
    if (number - number != 0.0)
        return UNUSUAL;
    char *text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (text == NULL)
        return FAILED;
    int put = text_put(to, text, strlen(text));
    PyMem_Free(text);
    return put;
}

static void put_date(Text *to, unsigned year, unsigned month, unsigned day)
{
    char *at = to->data + to->size;
    padded_digits(at, year, 4);
    at[4] = '-';
    padded_digits(at + 5, month, 2);
    at[7] = '-';
    padded_digits(at + 8, day, 2);
    to->size += 10;
}

static void put_clock(Text *to, unsigned hour, unsigned minute, unsigned second)
{
    char *at = to->data + to->size;
    padded_digits(at, hour, 2);
    at[2] = ':';
    padded_digits(at + 3, minute, 2);
    at[5] = ':';
    padded_digits(at + 6, second, 2);
    to->size += 8;
}

/* Two digits are stored in a byte, four in two, six in three. */
static int put_fraction(Text *to, const unsigned char *at, int digits)
{
    if (!digits)
        return DONE;
    size_t size = (size_t)(digits + 1) / 2;
    uint64_t number = big_endian(at, size);
    if (number >= POWERS[2 * size])
        return UNUSUAL;
    if (digits & 1)
        number /= 10;
    to->data[to->size++] = '.';
    padded_digits(to->data + to->size, number, digits);
    to->size += (size_t)digits;
    return DONE;
}

static int date(const Cell *cell, Text *to)
{
    unsigned packed = (unsigned)little_endian(cell->at, 3);
    unsigned year = packed >> 9, month = packed >> 5 & 15;
    if (year > 9999 || month > 12)
        return UNUSUAL;
    if (text_room(to, 10) < 0)
        return FAILED;
    put_date(to, year, month, packed & 31);
    return DONE;
}

static int datetime(const Column *column, const Cell *cell, Text *to)
{
    uint64_t packed = big_endian(cell->at, 5);
    unsigned days = (unsigned)(packed >> 22 & 0x1FFFF), day = packed >> 17 & 31;
    unsigned year = days / 13, month = days % 13;
    unsigned hour = packed >> 12 & 31, minute = packed >> 6 & 63, second = packed & 63;
    if (!(packed >> 39) || year > 9999 || hour > 23 || minute > 59 || second > 59)
        return UNUSUAL;
    if (text_room(to, 32) < 0)
        return FAILED;
    put_date(to, year, month, day);
    to->data[to->size++] = month && day ? 'T' : ' ';
    put_clock(to, hour, minute, second);
    return put_fraction(to, cell->at + 5, column->detail);
}

/* Days since 1970 to a date; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". */
static void put_day(Text *to, uint32_t days)
{
    uint32_t z = days + 719468, era = z / 146097, doe = z % 146097;
    uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    uint32_t month = mp < 10 ? mp + 3 : mp - 9;
    put_date(to, yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) / 5 + 1);
}

static int timestamp(const Column *column, const Cell *cell, Text *to)
{
    uint32_t seconds = (uint32_t)big_endian(cell->at, 4), clock = seconds % 86400;
    size_t fraction_bytes = (size_t)(column->detail + 1) / 2;
    if (text_room(to, 32) < 0)
        return FAILED;
    bool zero = !seconds && !big_endian(cell->at + 4, fraction_bytes);
    if (zero) {
        put_date(to, 0, 0, 0);
        to->data[to->size++] = ' ';
    } else {
        put_day(to, seconds / 86400);
        to->data[to->size++] = 'T';
    }
    put_clock(to, clock / 3600, clock / 60 % 60, clock % 60);
    int put = put_fraction(to, cell->at + 4, column->detail);
    if (put == DONE && !zero)
        to->data[to->size++] = 'Z';
    return put;
}

static int label(const Column *column, const Cell *cell, Text *to, const Escapes *escapes)
{
    uint64_t number = little_endian(cell->at, cell->size);
    if (!PyTuple_Check(column->extra) || number >= (uint64_t)PyTuple_GET_SIZE(column->extra))
        return UNUSUAL;
    PyObject *text = PyTuple_GET_ITEM(column->extra, (Py_ssize_t)number);
    if (!PyBytes_Check(text))
        return UNUSUAL;
    return text_escape(to, PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text), escapes,
                       false);
}

static int called(const Column *column, const Cell *cell, Text *to, const Escapes *escapes)
{
    PyObject *text = PyObject_CallFunction(column->extra, "y#", (const char *)cell->at,
                                           (Py_ssize_t)cell->size);
    Py_ssize_t size;
    const char *utf8 = text && PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &size) : NULL;
    int put = UNUSUAL;
    if (utf8 != NULL)
        put = text_escape(to, utf8, (size_t)size, escapes, false);
    else
        PyErr_Clear(); /* the Python code calls the function again and reports the error */
    Py_XDECREF(text);
    return put;
}

static int json(const Column *column, const Cell *cell, Text *to, const Escapes *escapes)
{
    Text text = {0};
    int put = json_text(&text, cell->at, cell->size);
    if (put == DONE)
        put = text_escape(to, text.data, text.size, escapes, false);
    else if (put == UNUSUAL)
        put = called(column, cell, to, escapes);
    text_free(&text);
    return put;
}

/* 2026-11-23 10:00:00.5; a date without month or day is kept as printed. */
static int printed_datetime(const Column *column, const Cell *cell, Text *to)
{
    const char *from = (const char *)cell->at;
    if (cell->size < 19 || from[10] != ' ')
        return UNUSUAL;
    if (text_room(to, cell->size + 1) < 0)
        return FAILED;
    char *at = to->data + to->size;
    memcpy(at, from, cell->size);
    to->size += cell->size;
    if (memcmp(from + 5, "00", 2) && memcmp(from + 8, "00", 2)) {
        at[10] = 'T';
        if (column->kind == PRINTED_TIMESTAMP)
            to->data[to->size++] = 'Z';
    }
    return DONE;
}

int column_text(const Column *column, const Cell *cell, Text *to, const Escapes *escapes)
{
    const char *bytes = (const char *)cell->at;
    switch (column->kind) {
    case INTEGER:
        return integer(column, cell, to);
    case YEAR: {
        char digits[20];
        size_t size = digits_of(digits, cell->at[0] ? cell->at[0] + 1900u : 0);
        return text_put(to, digits, size);
    }
    case DOUBLE:
        return floating(cell, to);
    case DECIMAL:
        return decimal(column, cell, to);
    case DATE:
        return date(cell, to);
    case DATETIME:
        return datetime(column, cell, to);
    case TIMESTAMP:
        return timestamp(column, cell, to);
    case LABEL:
        return label(column, cell, to, escapes);
    case TEXT:
        return text_escape(to, bytes, cell->size, escapes, column->detail);
    case JSON:
        return json(column, cell, to, escapes);
    case CALLED:
        return called(column, cell, to, escapes);
    case PRINTED:
        return text_escape(to, bytes, cell->size, escapes, true);
    default:
        return printed_datetime(column, cell, to);
    }
}

int column_token(const Column *column, const Cell *cell, Text *to)
{
    if (cell->at == NULL)
        return PUT_LITERAL(to, "null");
    if (!column->quoted)
        return column_text(column, cell, to, &escaped_once);
    if (PUT_LITERAL(to, "\\\"") < 0)
        return FAILED;
    int put = column_text(column, cell, to, &escaped_twice);
    return put != DONE ? put : PUT_LITERAL(to, "\\\"");
}
