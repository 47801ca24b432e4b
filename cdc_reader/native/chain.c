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
    chain->lanes = PyMem_Calloc((size_t)count + 1, sizeof *chain->lanes);
    if (chain->lanes == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    chain->lane_count = (uint32_t)count;
    for (Py_ssize_t n = 0; n < count; n++) {
        Lane *lane = chain->lanes + n;
        Py_ssize_t size;
        const char *prev = PyUnicode_AsUTF8AndSize(PyList_GET_ITEM(last_of, n), &size);
        if (prev == NULL)
            return FAILED;
        if ((size_t)size > sizeof lane->prev)
            return UNUSUAL;
        memcpy(lane->prev, prev, lane->prev_size = (size_t)size);
    }
    return DONE;
}

int chain_lanes_to(const Chain *chain, PyObject *last_of)
{
    for (uint32_t n = 0; n < chain->lane_count; n++) {
        const Lane *lane = chain->lanes + n;
        PyObject *prev = PyUnicode_FromStringAndSize(lane->prev, (Py_ssize_t)lane->prev_size);
        if (prev == NULL || PyList_SetItem(last_of, n, prev) < 0)
            return FAILED;
    }
    return DONE;
}

void lane_move(Chain *chain, Lane *lane)
{
    if (lane->event != chain->event) {
        memcpy(lane->before, lane->prev, lane->before_size = lane->prev_size);
        lane->event = chain->event;
    }
    memcpy(lane->prev, chain->prev, lane->prev_size = chain->prev_size);
}

void lanes_take_back(Chain *chain)
{
    for (Lane *lane = chain->lanes; lane < chain->lanes + chain->lane_count; lane++)
        if (lane->event == chain->event)
            memcpy(lane->prev, lane->before, lane->prev_size = lane->before_size);
}

int lane_of(const Chain *chain, const char *key, size_t size)
{
    if (memchr(key, '\\', size) != NULL)
        return -1;
    return (int)(crc_of((const unsigned char *)key, size) % chain->lane_count);
}
