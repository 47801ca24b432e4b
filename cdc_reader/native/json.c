/* The form and the layout are those of cdc_reader/rows/json_binary.py, which stays the reference. */

#include "json.h"

#include "column.h"

enum {
    SMALL_OBJECT,
    LARGE_OBJECT,
    SMALL_ARRAY,
    LARGE_ARRAY,
    LITERAL,
    INT16,
    UINT16,
    INT32,
    UINT32,
    INT64,
    UINT64,
    FLOATING,
    STRING
};

enum { DEPTH_MAX = 100 };

typedef struct {
    const unsigned char *all;
    size_t size;
    Text *to;
} Document;

static int value(Document *d, unsigned kind, size_t at, size_t end, int depth);

static int quoted(Document *d, size_t at, size_t size, size_t end)
{
    if (at > end || size > end - at)
        return UNUSUAL;
    if (PUT_LITERAL(d->to, "\"") < 0)
        return FAILED;
    int put = text_escape(d->to, (const char *)d->all + at, size, &escaped_once, false);
    return put != DONE ? put : PUT_LITERAL(d->to, "\"");
}

/* It follows its length in groups of seven bits. */
static int string(Document *d, size_t at, size_t end)
{
    size_t size = 0;
    for (int group = 0; group < 5; group++) {
        if (at >= end)
            return UNUSUAL;
        unsigned char byte = d->all[at++];
        size |= (size_t)(byte & 0x7F) << 7 * group;
        if (byte < 0x80)
            return quoted(d, at, size, end);
    }
    return UNUSUAL;
}

static int number(Document *d, unsigned kind, size_t at)
{
    size_t width = kind <= UINT16 ? 2 : kind <= UINT32 ? 4 : 8;
    if (at > d->size || width > d->size - at)
        return UNUSUAL;
    Column column = {.kind = INTEGER, .detail = kind == UINT16 || kind == UINT32 || kind == UINT64};
    Cell cell = {d->all + at, width};
    return column_text(&column, &cell, d->to, &escaped_once);
}

/* Where Python's shortest form is MySQL's too. */
static int floating(Document *d, size_t at)
{
    double number;
    if (at > d->size || sizeof number > d->size - at)
        return UNUSUAL;
    memcpy(&number, d->all + at, sizeof number);
    double size = number < 0 ? -number : number;
    if (!(size >= 1e-4 && size < 1e15))
        return UNUSUAL;
    Column column = {.kind = DOUBLE};
    Cell cell = {d->all + at, sizeof number};
    return column_text(&column, &cell, d->to, &escaped_once);
}

static int literal(Document *d, size_t at)
{
    if (at >= d->size || d->all[at] > 2)
        return UNUSUAL;
    static const char *const words[] = {"null", "true", "false"};
    const char *word = words[d->all[at]];
    return text_put(d->to, word, strlen(word));
}

static bool is_inline(unsigned kind, bool large)
{
    return (kind >= LITERAL && kind <= UINT16) || (large && (kind == INT32 || kind == UINT32));
}

/* An object or array; offsets in it count from its own first byte. */
static int container(Document *d, unsigned kind, size_t at, size_t end, int depth)
{
    bool large = kind == LARGE_OBJECT || kind == LARGE_ARRAY;
    bool is_object = kind == SMALL_OBJECT || kind == LARGE_OBJECT;
    size_t width = large ? 4 : 2;
    if (depth > DEPTH_MAX || at > end || 2 * width > end - at)
        return UNUSUAL;
    size_t count = (size_t)little_endian(d->all + at, width);
    size_t size = (size_t)little_endian(d->all + at + width, width);
    if (size > end - at || size < 2 * width)
        return UNUSUAL;
    end = at + size;
    size_t key = at + 2 * width, entry = key + count * (width + 2) * is_object;
    if (count > size || entry > end || count * (width + 1) > end - entry)
        return UNUSUAL;
    if (text_put(d->to, is_object ? "{" : "[", 1) < 0)
        return FAILED;
    for (size_t n = 0; n < count; n++, entry += width + 1, key += width + 2) {
        if (n && PUT_LITERAL(d->to, ",") < 0)
            return FAILED;
        int put = DONE;
        if (is_object) {
            size_t key_at = at + (size_t)little_endian(d->all + key, width);
            put = quoted(d, key_at, (size_t)little_endian(d->all + key + width, 2), end);
            if (put == DONE)
                put = PUT_LITERAL(d->to, ":");
        }
        unsigned of = d->all[entry];
        size_t value_at = entry + 1;
        if (!is_inline(of, large)) {
            size_t offset = (size_t)little_endian(d->all + value_at, width);
            if (offset < 2 * width)
                return UNUSUAL;
            value_at = at + offset;
        }
        if (put == DONE)
            put = value(d, of, value_at, end, depth);
        if (put != DONE)
            return put;
    }
    return text_put(d->to, is_object ? "}" : "]", 1);
}

static int value(Document *d, unsigned kind, size_t at, size_t end, int depth)
{
    if (at > end)
        return UNUSUAL;
    if (kind <= LARGE_ARRAY)
        return container(d, kind, at, end, depth + 1);
    if (kind == STRING)
        return string(d, at, end);
    if (kind == LITERAL)
        return literal(d, at);
    if (kind == FLOATING)
        return floating(d, at);
    return kind >= INT16 && kind <= UINT64 ? number(d, kind, at) : UNUSUAL;
}

int json_text(Text *to, const unsigned char *document, size_t size)
{
    if (!size)
        return PUT_LITERAL(to, "null"); /* what INSERT IGNORE puts into a NOT NULL column */
    Document d = {document, size, to};
    return value(&d, document[0], 1, size, 0);
}
