/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOX_BASE_TEXT_H
#define BLOX_BASE_TEXT_H

#include <ctype.h>
#include <string.h>

/* Without the blanks at both ends: a place in text, which is cut behind the last one that is none.
 */
static inline char *text_trim(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

#endif
