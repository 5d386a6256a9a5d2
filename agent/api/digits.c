/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/digits.h"

#include <string.h>

#include "agent/base/clock.h"

size_t digits_decimal(char *out, uint64_t v)
{
    char text[20];
    size_t n = 0;
    do {
        text[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = text[n - 1 - i];
    return n;
}

static void put_two(char *out, unsigned v)
{
    out[0] = (char)('0' + v / 10 % 10);
    out[1] = (char)('0' + v % 10);
}

/* RFC 3339 in UTC; the calendar by the days-from-civil arithmetic of the proleptic Gregorian
 * calendar with years that start in March. */
size_t digits_time(char *out, int64_t unix_ms)
{
    if (unix_ms < 0 || unix_ms >= 253402300800000) {
        clock_format_unix_ms(unix_ms, out);
        return strlen(out);
    }
    uint64_t seconds = (uint64_t)unix_ms / 1000;
    unsigned ms = (unsigned)((uint64_t)unix_ms % 1000);
    unsigned day_second = (unsigned)(seconds % 86400);
    uint64_t days = seconds / 86400 + 719468;
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_index = (unsigned)(5 * day_of_year + 2) / 153;
    unsigned day = (unsigned)day_of_year - (153 * month_index + 2) / 5 + 1;
    unsigned month = month_index < 10 ? month_index + 3 : month_index - 9;
    unsigned year = (unsigned)(year_of_era + era * 400) + (month <= 2);
    memcpy(out, "0000-00-00T00:00:00.000Z", 25);
    put_two(out, year / 100);
    put_two(out + 2, year % 100);
    put_two(out + 5, month);
    put_two(out + 8, day);
    put_two(out + 11, day_second / 3600);
    put_two(out + 14, day_second / 60 % 60);
    put_two(out + 17, day_second % 60);
    out[20] = (char)('0' + ms / 100);
    put_two(out + 21, ms % 100);
    return 24;
}
