/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/pattern.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* jansson only hands out valid UTF-8. */
static uint32_t next_char(const char **at)
{
    unsigned char c = (unsigned char)**at;
    size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    uint32_t value = more == 0 ? c : more == 1 ? c & 0x1fu : more == 2 ? c & 0x0fu : c & 0x07u;

    ++*at;
    for (; more > 0 && **at != '\0'; more--, ++*at)
        value = value << 6 | ((unsigned char)**at & 0x3fu);
    return value;
}

size_t pattern_length(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0u) != 0x80;
    return n;
}

static bool is_category(char category, uint32_t c)
{
    /* Outside ASCII every character counts as a letter: C has no Unicode tables. */
    if (c >= 0x80)
        return true;
    switch (category) {
    case 'L':
        return isalpha((int)c) != 0;
    case 'N':
    case 'd':
        return isdigit((int)c) != 0;
    case 'Z':
        return c == ' ';
    case 'w':
        return isalnum((int)c) != 0 || c == '_';
    default:
        return false;
    }
}

/* Reads one literal of a class: a character, "\-", or "\uXXXX" (AWS also writes five digits). */
static uint32_t literal(const char **at)
{
    if (**at != '\\')
        return next_char(at);
    ++*at;
    if (**at != 'u')
        return next_char(at);
    char hex[7] = {0};
    size_t n = 0;
    ++*at;
    while (n < 6 && isxdigit((unsigned char)(*at)[n])) {
        hex[n] = (*at)[n];
        n++;
    }
    *at += n;
    return (uint32_t)strtoul(hex, NULL, 16);
}

static bool class_has(const char *at, const char *end, uint32_t c)
{
    while (at < end) {
        if (*at == '\\' && (at[1] == 'w' || at[1] == 'd')) {
            if (c < 0x80 && is_category(at[1], c))
                return true;
            at += 2;
            continue;
        }
        if (*at == '\\' && at[1] == 'p' && at[2] == '{') {
            if (is_category(at[3], c))
                return true;
            at += 5;
            continue;
        }
        uint32_t low = literal(&at), high = low;
        if (at + 1 < end && *at == '-') {
            at++;
            high = literal(&at);
        }
        if (c >= low && c <= high)
            return true;
    }
    return false;
}

bool pattern_matches(const char *pattern, const char *text)
{
    const char *at = pattern + (*pattern == '(');
    const char *end = strrchr(pattern, ']');

    if (*at != '[' || end == NULL || (end[1] != '*' && end[1] != '+'))
        return true;
    if (*text == '\0')
        return end[1] == '*';
    while (*text != '\0')
        if (!class_has(at + 1, end, next_char(&text)))
            return false;
    return true;
}
