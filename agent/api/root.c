/* SPDX-License-Identifier: Apache-2.0
 * What stands outside the versions: health, metrics and the dashboard. */
#include <inttypes.h>
#include <string.h>

#include "agent/api/dashboard.h"
#include "agent/api/problem.h"
#include "agent/api/server.h"
#include "agent/base/metrics.h"

/* Nothing but the page's own three files may run or load; no site may frame it. */
#define PAGE_POLICY                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "                \
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static enum MHD_Result live(struct request *r)
{
    return reply(r, &(struct answer){
                        .status = 200, .type = "application/json", .text = "{\"live\":true}\n"});
}

/* Ready: it answers with rows. Syncing with rows from before is ready; degraded is, too: reads
 * work, and the body says what does not; but for an agent that is outside of its cluster. */
static enum MHD_Result ready(struct request *r)
{
    struct api_facts f;
    struct store_stats stats;
    struct buf b;
    publish_facts(&r->api->publish, &f);
    store_stats(r->api->store, &stats);
    bool ok = !f.apart && (strcmp(f.state, "ready") == 0 || strcmp(f.state, "degraded") == 0 ||
                           (strcmp(f.state, "syncing") == 0 && stats.rows > 0));
    buf_init(&b, 2048);
    buf_printf(&b, "{\"ready\":%s,\"state\":", ok ? "true" : "false");
    json_write_string(&b, f.state, strlen(f.state));
    if (f.why[0] != '\0') {
        buf_puts(&b, ",\"why\":");
        json_write_string(&b, f.why, strlen(f.why));
    }
    buf_puts(&b, "}\n");
    return reply(r, &(struct answer){.status = ok ? 200 : 503,
                                     .type = "application/json",
                                     .body = &b,
                                     .retry_after_s = ok ? 0 : 1});
}

static void gauge(struct buf *b, const char *name, const char *help, const char *type,
                  uint64_t value)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, type, name,
               value);
}

static void put_connections(struct api *a, struct buf *b)
{
    uint64_t open = 0, crowded_out = 0, too_slow = 0;
    for (size_t i = 0; i < atomic_load(&a->listener_count); i++) {
        struct conns *t = &a->listeners[i].conns;
        open += conns_open(t);
        crowded_out += atomic_load(&t->closed_for_room);
        too_slow += atomic_load(&t->closed_for_time);
    }
    gauge(b, "blox_api_connections", "Open connections, without streams.", "gauge", open);
    gauge(b, "blox_api_connections_crowded_out_total",
          "Closed while they waited for their client, because others came and there was no room.",
          "counter", crowded_out);
    gauge(b, "blox_api_connections_too_slow_total", "Closed because no whole request came in time.",
          "counter", too_slow);
}

static enum MHD_Result metrics(struct request *r)
{
    struct store_stats s;
    struct buf b;
    buf_init(&b, 4u << 20);
    metrics_render(&b);
    store_stats(r->api->store, &s);
    gauge(&b, "blox_store_rows", "Live rows.", "gauge", s.rows);
    gauge(&b, "blox_store_tombstones", "Rows kept as deleted.", "gauge", s.tombstones);
    gauge(&b, "blox_store_state_bytes", "Bytes used in state/.", "gauge", s.state_bytes);
    gauge(&b, "blox_store_state_map_bytes", "Bytes that state/ may grow to.", "gauge",
          s.state_map_bytes);
    gauge(&b, "blox_store_log_bytes", "Bytes used in log/.", "gauge", s.log_bytes);
    gauge(&b, "blox_store_commits_total", "Transactions written.", "counter", s.commits);
    gauge(&b, "blox_store_writes_total", "Rows written.", "counter", s.writes);
    gauge(&b, "blox_store_journalled_total", "Writes of raft's log that its journal took.",
          "counter", s.journalled);
    gauge(&b, "blox_store_duplicates_total", "Rows that were not newer.", "counter", s.duplicates);
    gauge(&b, "blox_store_queue_depth", "Writes waiting.", "gauge", s.queue_depth);
    gauge(&b, "blox_store_poison", "Messages kept that could not be understood.", "gauge",
          s.poison);
    gauge(&b, "blox_api_streams", "Open streams.", "gauge",
          (uint64_t)atomic_load(&r->api->streams.count));
    put_connections(r->api, &b);
    return reply(r,
                 &(struct answer){.status = 200, .type = "text/plain; version=0.0.4", .body = &b});
}

static enum MHD_Result file(struct request *r, const char *type, const unsigned char *data,
                            size_t len)
{
    return reply(r, &(struct answer){.status = 200,
                                     .type = type,
                                     .text = (const char *)data,
                                     .text_len = len,
                                     .policy = PAGE_POLICY});
}

enum MHD_Result root_handle(struct request *r)
{
    if (r->method != METHOD_GET && r->method != METHOD_HEAD)
        return problem_reply(r, &(struct problem){.slug = "method-not-allowed",
                                                  .detail = "this path takes GET",
                                                  .allow = "GET, HEAD"});
    if (strcmp(r->path, "/health/live") == 0)
        return live(r);
    if (strcmp(r->path, "/health/ready") == 0)
        return ready(r);
    if (strcmp(r->path, "/metrics") == 0)
        return metrics(r);
    if (strcmp(r->path, "/") == 0)
        return file(r, "text/html; charset=utf-8", dashboard_html, dashboard_html_len);
    if (strcmp(r->path, "/dashboard.css") == 0)
        return file(r, "text/css; charset=utf-8", dashboard_css, dashboard_css_len);
    if (strcmp(r->path, "/dashboard.js") == 0)
        return file(r, "text/javascript; charset=utf-8", dashboard_js, dashboard_js_len);
    if (strcmp(r->path, "/openapi.json") == 0)
        return file(r, "application/json", openapi_json, openapi_json_len);
    return problem_replyf(r, "not-found", "there is no page %.200s", r->path);
}
