/* SPDX-License-Identifier: Apache-2.0
 * Counters and gauges for /metrics. A module owns static `struct metric`s and
 * registers them once at start; adding is atomic, from any thread. */
#ifndef BLOX_BASE_METRICS_H
#define BLOX_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "agent/base/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_NONE INT64_MIN /* metric_get() of a gauge of nothing */

/* Upper bounds of the histogram buckets, in microseconds; the last is +Inf. */
#define METRIC_BUCKETS 14

struct metric {
    const char *name;   /* "blox_sqs_messages_total" */
    const char *labels; /* "kind=\"task\"" or NULL */
    const char *help;
    enum metric_type type;
    _Atomic int64_t value;                   /* counter, gauge; histogram: sum in us */
    _Atomic int64_t buckets[METRIC_BUCKETS]; /* histogram only */
    struct metric *next;
};

#define METRIC_COUNTER_INIT(n, l, h)                                                               \
    {                                                                                              \
        .name = (n), .labels = (l), .help = (h), .type = METRIC_COUNTER                            \
    }
#define METRIC_GAUGE_INIT(n, l, h)                                                                 \
    {                                                                                              \
        .name = (n), .labels = (l), .help = (h), .type = METRIC_GAUGE                              \
    }
#define METRIC_HISTOGRAM_INIT(n, l, h)                                                             \
    {                                                                                              \
        .name = (n), .labels = (l), .help = (h), .type = METRIC_HISTOGRAM                          \
    }

/* Registering twice is harmless. Metrics of one name must be registered one after the other. */
void metrics_register(struct metric *m);
void metrics_unregister_all(void); /* tests */
void metric_add(struct metric *m, int64_t n);
void metric_set(struct metric *m, int64_t value);
void metric_none(struct metric *m); /* a gauge of nothing: not rendered until it is set again */
void metric_observe_us(struct metric *m, uint64_t us);
int64_t metric_get(const struct metric *m);
int metrics_render(struct buf *out); /* Prometheus text format 0.0.4 */

#endif
