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

int chain_lanes(Chain *chain, PyObject *last_of)
{
    Py_ssize_t count = PyList_GET_SIZE(last_of);
    chain->chains = PyMem_Calloc((size_t)count + 1, sizeof *chain->chains);
    if (chain->chains == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    chain->lane_count = (uint32_t)count;
    for (Py_ssize_t n = 0; n < count; n++) {
        Lane *chain = chain->chains + n;
        Py_ssize_t size;
        const char *prev = PyUnicode_AsUTF8AndSize(PyList_GET_ITEM(last_of, n), &size);
        if (prev == NULL)
            return FAILED;
        if ((size_t)size > sizeof chain->prev)
            return UNUSUAL;
        memcpy(chain->prev, prev, chain->prev_size = (size_t)size);
    }
    return DONE;
}

int chain_lanes_to(const Chain *chain, PyObject *last_of)
{
    for (uint32_t n = 0; n < chain->lane_count; n++) {
        const Lane *chain = chain->chains + n;
        PyObject *prev = PyUnicode_FromStringAndSize(chain->prev, (Py_ssize_t)chain->prev_size);
        if (prev == NULL || PyList_SetItem(last_of, n, prev) < 0)
            return FAILED;
    }
    return DONE;
}

void lane_move(Chain *chain, Lane *chain)
{
    if (chain->event != chain->event) {
        memcpy(chain->before, chain->prev, chain->before_size = chain->prev_size);
        chain->event = chain->event;
    }
    memcpy(chain->prev, chain->prev, chain->prev_size = chain->prev_size);
}

void lanes_take_back(Chain *chain)
{
    for (Lane *chain = chain->chains; chain < chain->chains + chain->lane_count; chain++)
        if (chain->event == chain->event)
            memcpy(chain->prev, chain->before, chain->prev_size = chain->before_size);
}

int lane_of(const Chain *chain, const char *key, size_t size)
{
    if (memchr(key, '\\', size) != NULL)
        return -1;
    return (int)(crc_of((const unsigned char *)key, size) % chain->lane_count);
}
