/* The chain of messages: the id of each, and of the one before it. */

#ifndef CDC_CHAIN_H
#define CDC_CHAIN_H

#include "text.h"

/* The end of one partition's chain, and what it was before the event that is being read. */
typedef struct {
    char prev[160], before[160];
    size_t prev_size, before_size;
    uint64_t event; /* that moved it last */
} ChainEnd;

/* The chain of messages that the rows are added to. */
typedef struct {
    const char *middle, *tail; /* before the id, and after the one before it */
    size_t middle_size, tail_size;
    char id[160], prev[160];
    size_t prefix_size, prev_size; /* of `id` without the row's number */
    ChainEnd *ends; /* of several partitions */
    uint32_t partition_count;
    uint64_t event; /* number of the one that is being read */
} Chain;

int chain_prefix(Chain *chain, const char *prefix, size_t size);
int chain_prev(Chain *chain, const char *prev, size_t size);
/* Take the ends of several partitions' chains over from a list of str, and give them back. */
int chain_ends_from(Chain *chain, PyObject *last_of);
int chain_ends_to(const Chain *chain, PyObject *last_of);
/* The newest message is of this partition; until the event ends it can be taken back. */
void chain_end_move(Chain *chain, ChainEnd *end);
void chain_ends_take_back(Chain *chain);
/* As cdc.partition.partition_of; -1: a key that JSON escapes, which is not the key itself. */
int chain_partition_of(const Chain *chain, const char *key, size_t size);

#endif
