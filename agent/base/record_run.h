/* SPDX-License-Identifier: Apache-2.0
 * Records one behind the other, each written as what differs from the one before it: a row's
 * header and key take 60 to 100 bytes alone, in a run of rows of one table some ten.
 *
 *   head u8   128, and 1: deleted; the fields below marked with a bit are there if it is set, else
 *             as in the record before (of the first: zeros)
 *   kind u8, source u8            (2)
 *   bytes of key shared with the record before varint, length of the rest varint, the rest
 *   value length varint           (4)
 *   version hi                    (8)  this and what follows: difference modulo 2^64, zigzag varint
 *   version lo
 *   observed time                 (16)
 *   term                          (32)
 *   value */
#ifndef BLOX_BASE_RECORD_RUN_H
#define BLOX_BASE_RECORD_RUN_H

#include "agent/base/err.h"
#include "agent/base/record.h"

struct record_run {     /* zeroed at the beginning of a run, on either side */
    struct record last; /* its key is `key`, its value is not kept */
    char key[RECORD_KEY_MAX];
};
#define RECORD_RUN_HEADER_MAX 64u

/* Bytes that it would take next. */
size_t record_run_size(const struct record_run *run, const struct record *rec);
/* As if it had been put. */
void record_run_note(struct record_run *run, const struct record *rec);
/* ERR_TOOBIG: it does not fit, nothing was written. */
int record_run_put(struct record_run *run, const struct record *rec, struct wbuf *out) MUST_CHECK;
/* The key is borrowed from the run until the next call, the value from r's bytes. ERR_MALFORMED
 * for anything odd, after which the run is over. */
int record_run_get(struct record_run *run, struct rbuf *r, struct record *ret) MUST_CHECK;

#endif
