/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "agent/base/err.h"

uint64_t clock_mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000u;
}

int64_t clock_unix_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const char *clock_format_unix_ms(int64_t unix_ms, char out[CLOCK_TEXT_MAX])
{
    int64_t secs = unix_ms / 1000;
    int64_t ms = unix_ms % 1000;
    if (ms < 0) {
        ms += 1000;
        secs--;
    }
    time_t t = (time_t)secs;
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099) {
        out[0] = '\0';
        return out;
    }
    size_t n = strftime(out, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, CLOCK_TEXT_MAX - n, ".%03dZ", (int)ms);
    return out;
}

static bool digits(const char **p, int count, int *ret)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *p += count;
    *ret = value;
    return true;
}

static bool literal(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* "Z", "+01:00", "-0530" or "+01"; seconds east of UTC. */
static bool zone(const char **p, int *ret_seconds)
{
    if (literal(p, 'Z') || literal(p, 'z')) {
        *ret_seconds = 0;
        return true;
    }
    int sign = **p == '-' ? -1 : 1;
    int hours = 0;
    int minutes = 0;
    if (!literal(p, '+') && !literal(p, '-'))
        return false;
    if (!digits(p, 2, &hours))
        return false;
    (void)literal(p, ':');
    if (**p != '\0' && !digits(p, 2, &minutes))
        return false;
    if (hours > 23 || minutes > 59)
        return false;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

int clock_parse_rfc3339(const char *text, int64_t *ret_unix_ms)
{
    const char *p = text;
    struct tm tm = {0};
    int year, month, day, hour, minute, second, offset, ms = 0;
    if (!digits(&p, 4, &year) || !literal(&p, '-') || !digits(&p, 2, &month) || !literal(&p, '-') ||
        !digits(&p, 2, &day))
        return ERR_MALFORMED;
    if (!literal(&p, 'T') && !literal(&p, 't') && !literal(&p, ' '))
        return ERR_MALFORMED;
    if (!digits(&p, 2, &hour) || !literal(&p, ':') || !digits(&p, 2, &minute) ||
        !literal(&p, ':') || !digits(&p, 2, &second))
        return ERR_MALFORMED;
    if (literal(&p, '.')) {
        int scale = 100;
        int count = 0;
        for (; *p >= '0' && *p <= '9'; p++, count++) {
            ms += (*p - '0') * scale;
            scale /= 10;
        }
        if (count == 0 || count > 9)
            return ERR_MALFORMED;
    }
    if (!zone(&p, &offset) || *p != '\0')
        return ERR_MALFORMED;
    if (month < 1 || month > 12 || day < 1 || day > days_of(year, month) || hour > 23 ||
        minute > 59 || second > 60)
        return ERR_MALFORMED;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    tm.tm_hour = hour;
    tm.tm_min = minute;
    tm.tm_sec = second;
    *ret_unix_ms = ((int64_t)timegm(&tm) - offset) * 1000 + ms;
    return 0;
}
