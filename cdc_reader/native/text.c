#include "text.h"

Escapes escaped_once, escaped_twice;

static const char HEX[] = "0123456789abcdef";

int text_grow(Text *to, size_t more)
{
    size_t room = to->room ? to->room : 1024;
    while (room < to->size + more)
        room *= 2;
    char *data = PyMem_Realloc(to->data, room);
    if (data == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    to->data = data;
    to->room = room;
    return DONE;
}

void text_free(Text *text)
{
    PyMem_Free(text->data);
    *text = (Text){0};
}

size_t digits_of(char *to, uint64_t number)
{
    char reversed[20];
    size_t size = 0;
    do {
        reversed[size++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    for (size_t i = 0; i < size; i++)
        to[i] = reversed[size - 1 - i];
    return size;
}

void padded_digits(char *to, uint64_t number, int width)
{
    for (int i = width - 1; i >= 0; i--, number /= 10)
        to[i] = (char)('0' + number % 10);
}

/* The form of msgspec: short escapes where JSON has them, lower-case hexadecimal elsewhere. */
static size_t json_escape(char *to, unsigned char c)
{
    static const char shorts[] = "b\bf\fn\nr\rt\t";
    if (c == '"' || c == '\\') {
        to[0] = '\\', to[1] = (char)c;
        return 2;
    }
    if (c >= 0x20) {
        to[0] = (char)c;
        return 1;
    }
    for (size_t i = 0; i + 1 < sizeof shorts; i += 2)
        if ((unsigned char)shorts[i + 1] == c) {
            to[0] = '\\', to[1] = shorts[i];
            return 2;
        }
    memcpy(to, "\\u00", 4);
    to[4] = HEX[c >> 4], to[5] = HEX[c & 15];
    return 6;
}

static int escapes_set(Escapes *to, unsigned char c, const char *text, size_t size)
{
    char out[64];
    size_t out_size = 0;
    for (size_t i = 0; i < size; i++)
        out_size += json_escape(out + out_size, (unsigned char)text[i]);
    if (out_size > sizeof to->text[c])
        return UNUSUAL;
    memcpy(to->text[c], out, out_size);
    to->size[c] = (uint8_t)out_size;
    to->plain[c] = out_size == 1 && out[0] == (char)c;
    return DONE;
}

void escapes_begin(void)
{
    memset(escaped_once.plain, 1, sizeof escaped_once.plain);
    memset(escaped_twice.plain, 1, sizeof escaped_twice.plain);
    for (int c = 0; c < 128; c++) {
        char once[8], same = (char)c;
        escapes_set(&escaped_once, (unsigned char)c, &same, 1);
        escapes_set(&escaped_twice, (unsigned char)c, once, json_escape(once, (unsigned char)c));
    }
}

/* texts: what each of the 128 ASCII characters becomes in a key, before JSON's own escapes. */
int escapes_of_key(Escapes *to, PyObject *texts)
{
    memset(to->plain, 1, sizeof to->plain);
    if (!PyTuple_Check(texts) || PyTuple_GET_SIZE(texts) != 128)
        return UNUSUAL;
    for (int c = 0; c < 128; c++) {
        PyObject *text = PyTuple_GET_ITEM(texts, c);
        if (!PyBytes_Check(text) || PyBytes_GET_SIZE(text) > 8)
            return UNUSUAL;
        int set = escapes_set(to, (unsigned char)c, PyBytes_AS_STRING(text),
                              (size_t)PyBytes_GET_SIZE(text));
        if (set != DONE)
            return set;
    }
    return DONE;
}

static bool is_utf8(const char *from, size_t size)
{
    PyObject *text = PyUnicode_DecodeUTF8(from, (Py_ssize_t)size, "strict");
    if (text == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_DECREF(text);
    return true;
}

int text_escape(Text *to, const char *from, size_t size, const Escapes *escapes, bool ascii)
{
    const char *all = from, *end = from + size;
    unsigned char seen = 0;
    while (from < end) {
        const char *start = from;
        while (from < end && escapes->plain[(unsigned char)*from])
            seen |= (unsigned char)*from++;
        if (text_put(to, start, (size_t)(from - start)) < 0)
            return FAILED;
        if (from < end) {
            unsigned char c = (unsigned char)*from++;
            if (text_put(to, escapes->text[c], escapes->size[c]) < 0)
                return FAILED;
        }
    }
    if (seen & 0x80 && (ascii || !is_utf8(all, size)))
        return UNUSUAL;
    return DONE;
}
