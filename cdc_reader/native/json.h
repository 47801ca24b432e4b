/* MySQL's binary JSON as compact text. */

#ifndef CDC_JSON_H
#define CDC_JSON_H

#include "text.h"

/* UNUSUAL: values of SQL types, doubles that MySQL prints in its own way, damaged documents. */
int json_text(Text *to, const unsigned char *document, size_t size);

#endif
