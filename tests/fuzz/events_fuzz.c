/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer: an SQS body of any bytes. A row that comes out must survive the wire and a second
 * pass unchanged. Corpus: tests/data/ecs-events. */
#include <stdint.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/row.h"
#include "agent/intake/events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct events_row *r, const struct events_options *options)
{
    struct row row;
    struct events_row again;
    ENSURE(row_decode(r->record.value, r->record.value_len, &row) == 0);
    json_t *json = json_parse(row.json.data, row.json.len, NULL);
    ENSURE(json != NULL);
    events_row_init(&again);
    if (r->record.kind == RECORD_TASK)
        events_from_task(json, options, &again);
    else
        events_from_instance(json, NULL, options, &again);
    ENSURE(again.outcome == EVENTS_ROW);
    ENSURE(again.record.value_len == r->record.value_len);
    ENSURE(memcmp(again.record.value, r->record.value, r->record.value_len) == 0);
    events_row_fini(&again);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct events_row row;
    struct buf scrubbed;
    struct events_options options = {.keep_override_values = size % 2 == 1};
    events_row_init(&row);
    events_parse((const char *)data, size, &options, &row);
    if (row.outcome == EVENTS_ROW)
        check_row(&row, &options);
    events_row_fini(&row);
    buf_init(&scrubbed, 1 << 20);
    (void)events_scrub((const char *)data, size, &scrubbed);
    buf_fini(&scrubbed);
    return 0;
}
