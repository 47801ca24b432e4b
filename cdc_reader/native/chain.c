#include "chain.h"

#include "crc.h"

int chain_prefix(Chain *chain, const char *prefix, size_t size)
{
    if (size + 20 > sizeof chain->id)
        return UNUSUAL;
    memcpy(chain->id, prefix, size);
    chain->prefix_size = size;
    return DONE;
}

int chain_prev(Chain *chain, const char *prev, size_t size)
{
    if (size > sizeof chain->prev)
        return UNUSUAL;
    memcpy(chain->prev, prev, size);
    chain->prev_size = size;
    return DONE;
}

int chain_ends_from(Chain *chain, PyObject *last_of)
{
    Py_ssize_t count = PyList_GET_SIZE(last_of);
    chain->ends = PyMem_Calloc((size_t)count + 1, sizeof *chain->ends);
    if (chain->ends == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    chain->partition_count = (uint32_t)count;
    for (Py_ssize_t n = 0; n < count; n++) {
        ChainEnd *end = chain->ends + n;
        Py_ssize_t size;
        const char *prev = PyUnicode_AsUTF8AndSize(PyList_GET_ITEM(last_of, n), &size);
        if (prev == NULL)
            return FAILED;
        if ((size_t)size > sizeof end->prev)
            return UNUSUAL;
        memcpy(end->prev, prev, end->prev_size = (size_t)size);
    }
    return DONE;
}

int chain_ends_to(const Chain *chain, PyObject *last_of)
{
    for (uint32_t n = 0; n < chain->partition_count; n++) {
        const ChainEnd *end = chain->ends + n;
        PyObject *prev = PyUnicode_FromStringAndSize(end->prev, (Py_ssize_t)end->prev_size);
        if (prev == NULL || PyList_SetItem(last_of, n, prev) < 0)
            return FAILED;
    }
    return DONE;
}

void chain_end_move(Chain *chain, ChainEnd *end)
{
    if (end->event != chain->event) {
        memcpy(end->before, end->prev, end->before_size = end->prev_size);
        end->event = chain->event;
    }
    memcpy(end->prev, chain->prev, end->prev_size = chain->prev_size);
}

void chain_ends_take_back(Chain *chain)
{
    for (ChainEnd *end = chain->ends; end < chain->ends + chain->partition_count; end++)
        if (end->event == chain->event)
            memcpy(end->prev, end->before, end->prev_size = end->before_size);
}

int chain_partition_of(const Chain *chain, const char *key, size_t size)
{
    if (memchr(key, '\\', size) != NULL)
        return -1;
    return (int)(crc_of((const unsigned char *)key, size) % chain->partition_count);
}
