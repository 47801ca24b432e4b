/* Text that grows, and the JSON escapes in it. */

#ifndef CDC_TEXT_H
#define CDC_TEXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* UNUSUAL: nothing is wrong here, the Python code carries it or reports why it cannot. */
enum outcome { FAILED = -1, DONE = 0, UNUSUAL = 1 };

typedef struct {
    char *data;
    size_t size, room;
} Text;

/* How each ASCII character is written in a text; all others are unchanged. */
typedef struct {
    uint8_t plain[256];
    uint8_t size[128];
    char text[128][15];
} Escapes;

extern Escapes escaped_once;  /* inside a JSON string */
extern Escapes escaped_twice; /* inside a JSON string that is in a JSON string */

void escapes_begin(void);
int escapes_of_key(Escapes *to, PyObject *texts);

int text_grow(Text *to, size_t more);
void text_free(Text *text);

static inline int text_room(Text *to, size_t more)
{
    return to->size + more <= to->room ? DONE : text_grow(to, more);
}

static inline int text_put(Text *to, const void *from, size_t size)
{
    if (text_room(to, size) < 0)
        return FAILED;
    if (size > 0) /* both may be NULL then, which memcpy must not be given */
        memcpy(to->data + to->size, from, size);
    to->size += size;
    return DONE;
}

#define PUT_LITERAL(to, literal) text_put((to), (literal), sizeof(literal) - 1)

/* Digits of a number, without zeros before it; needs 20 bytes; returns how many it wrote. */
size_t digits_of(char *to, uint64_t number);
/* Exactly `width` digits. */
void padded_digits(char *to, uint64_t number, int width);

/* UTF-8 with escapes; UNUSUAL where it is no UTF-8, or not ASCII where it has to be. */
int text_escape(Text *to, const char *from, size_t size, const Escapes *escapes, bool ascii);

#endif
