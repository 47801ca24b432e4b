/* CRC-32 as binlog events have it. */

#ifndef CDC_CRC_H
#define CDC_CRC_H

#include <stddef.h>
#include <stdint.h>

void crc_begin(void);
uint32_t crc_of(const unsigned char *at, size_t size);

#endif
