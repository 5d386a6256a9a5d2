/* SPDX-License-Identifier: Apache-2.0
 * /v1/environments and their deployments. Reads come from the rows, writes go to the leader. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/api/list.h"
#include "agent/api/v1.h"
#include "agent/base/span.h"

/* Words of Blox's scheduler, which are not those of its state service everywhere. */
#define NO_ENVIRONMENT "Environment %s does not exist"
#define NOT_SUPPORTED "At least one of the filters provided is not supported"
#define SERVER_ERROR "Server Error"

static bool is_environment_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t len = strlen(name);
    return len > 0 && len <= ENVIRONMENT_NAME_MAX && strspn(name, allowed) == len;
}

/* Blox's router took lower-case UUIDs only. */
static bool is_uuid(const char *text)
{
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : text[i] == '\0' || strchr("0123456789abcdef", text[i]) == NULL)
            return false;
    }
    return text[36] == '\0';
}

/* -- reads ------------------------------------------------------------------------- */

/* The row of an environment that is not deleted, put in Blox's form if out is not NULL. */
static bool find_environment(struct request *r, const char *name, struct buf *out)
{
    struct store_txn *txn;
    struct store_row row;
    struct row fields;
    struct buf spare;
    if (!is_environment_name(name) || store_read_begin(r->api->store, &txn) != 0)
        return false;
    buf_init(&spare, RECORD_VALUE_MAX);
    bool found = store_get_ref(txn, RECORD_ENVIRONMENT, name, strlen(name), &row) == 0 &&
                 !row.record.deleted &&
                 row_decode(row.record.value, row.record.value_len, &fields) == 0 &&
                 v1_put_environment(out != NULL ? out : &spare, &row, &fields) == 0;
    store_read_end(txn);
    buf_fini(&spare);
    return found;
}

static enum MHD_Result get_environment(struct request *r, const char *name)
{
    struct buf b;
    buf_init(&b, RECORD_VALUE_MAX);
    if (!find_environment(r, name, &b)) {
        buf_fini(&b);
        return v1_errorf(r, 404, NO_ENVIRONMENT, name);
    }
    buf_putc(&b, '\n');
    return reply(r, &(struct answer){.status = 200, .type = V1_JSON, .body = &b});
}

static enum MHD_Result list_environments(struct request *r)
{
    static const char *const filters[] = {"cluster", "nextToken", NULL};
    enum MHD_Result ret;
    struct list_spec spec = {.kind = RECORD_ENVIRONMENT, .emit = v1_put_environment};
    const char *token = request_param(r, "nextToken");
    if (token != NULL && token[0] != '\0') /* lists are whole: none is ever given out */
        return v1_error(r, 400, NOT_SUPPORTED);
    if (v1_check_filters(r, filters, NOT_SUPPORTED, &ret))
        return ret;
    const char *cluster = request_param(r, "cluster");
    if (cluster != NULL && cluster[0] != '\0') {
        /* Other than the state service, Blox's scheduler compared whole ARNs. */
        if (!v1_is_cluster(cluster) || filter_add_cluster(&spec.filter, cluster, false) != 0)
            return v1_error(r, 400, "Invalid cluster ARN or name");
    }
    return list_reply(r, &spec, V1_JSON);
}

/* Newest first: keys are random, so the rows are put in order of their creation. */
struct dated {
    struct buf text;
    char created[40];
    uint64_t index;
};
struct deployments {
    struct dated items[DEPLOYMENTS_KEPT * 2];
    size_t count;
};

static int on_deployment(void *arg, const struct store_row *row)
{
    struct deployments *d = arg;
    struct row fields;
    if (d->count == sizeof d->items / sizeof d->items[0])
        return 1;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return 0;
    struct dated *item = &d->items[d->count];
    buf_init(&item->text, RECORD_VALUE_MAX);
    if (v1_put_deployment(&item->text, row, &fields) != 0) {
        buf_fini(&item->text);
        return 0;
    }
    struct span created = span_get((struct span){fields.json.data, fields.json.len}, "createdAt");
    size_t len = created.len < sizeof item->created ? created.len : sizeof item->created - 1;
    memset(item->created, 0, sizeof item->created);
    if (created.data != NULL)
        memcpy(item->created, created.data, len);
    item->index = row->record.version.lo;
    d->count++;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct dated *x = a, *y = b;
    int order = strcmp(y->created, x->created);
    return order != 0 ? order : (x->index < y->index) - (x->index > y->index);
}

static enum MHD_Result list_deployments(struct request *r, const char *environment)
{
    struct store_txn *txn;
    if (!find_environment(r, environment, NULL))
        return v1_errorf(r, 404, NO_ENVIRONMENT, environment);
    struct deployments *d = calloc(1, sizeof *d);
    if (d == NULL || store_read_begin(r->api->store, &txn) != 0) {
        free(d);
        return v1_error(r, 500, SERVER_ERROR);
    }
    struct store_query q = {
        .kind = RECORD_DEPLOYMENT, .field = ROW_ENVIRONMENT, .value = environment};
    int err = store_scan(txn, &q, on_deployment, d);
    store_read_end(txn);
    qsort(d->items, d->count, sizeof d->items[0], newest_first);
    struct buf b;
    buf_init(&b, 2 * DEPLOYMENTS_KEPT * RECORD_VALUE_MAX);
    buf_puts(&b, "{\"items\":[");
    for (size_t i = 0; i < d->count; i++) {
        if (i > 0)
            buf_putc(&b, ',');
        buf_put(&b, d->items[i].text.data, d->items[i].text.len);
        buf_fini(&d->items[i].text);
    }
    buf_puts(&b, "]}\n");
    free(d);
    if (err != 0) {
        buf_fini(&b);
        return v1_error(r, 500, SERVER_ERROR);
    }
    return reply(r, &(struct answer){.status = 200, .type = V1_JSON, .body = &b});
}

static enum MHD_Result get_deployment(struct request *r, const char *environment, const char *id)
{
    struct store_txn *txn;
    struct store_row row;
    struct row fields;
    struct buf key, b;
    if (!find_environment(r, environment, NULL))
        return v1_errorf(r, 404, NO_ENVIRONMENT, environment);
    buf_init(&key, RECORD_KEY_MAX);
    buf_init(&b, RECORD_VALUE_MAX);
    bool found = buf_printf(&key, "%s/%s", environment, id) == 0 &&
                 store_read_begin(r->api->store, &txn) == 0;
    if (found) {
        found = store_get_ref(txn, RECORD_DEPLOYMENT, key.data, key.len, &row) == 0 &&
                !row.record.deleted &&
                row_decode(row.record.value, row.record.value_len, &fields) == 0 &&
                v1_put_deployment(&b, &row, &fields) == 0;
        store_read_end(txn);
    }
    buf_fini(&key);
    if (!found) {
        buf_fini(&b);
        return v1_errorf(r, 404, "Deployment %s does not exist for environment %s", id,
                         environment);
    }
    buf_putc(&b, '\n');
    return reply(r, &(struct answer){.status = 200, .type = V1_JSON, .body = &b});
}

/* -- writes ------------------------------------------------------------------------ */

static enum MHD_Result submit(struct request *r, json_t *command)
{
    int err =
        writes_submit(&r->api->writes, r->conn, command, r->api->submit, r->api->arg, &r->call);
    if (err == 0)
        return MHD_YES;
    return v1_error(r, (unsigned)err_http_status(err), "The agent cannot take the request now");
}

/* Blox knew 400 for everything that a request got wrong, and 404. */
static enum MHD_Result answer_error(struct request *r)
{
    const struct write_call *c = r->call;
    unsigned status = (unsigned)err_http_status(c->err);
    if (status == 409 || status == 412 || status == 413 || status == 422)
        status = 400;
    if (status == 500)
        return v1_error(r, 500, SERVER_ERROR);
    return v1_error(r, status, c->detail);
}

/* The resource in the loop's answer is stored JSON, so it converts as a row does. */
static enum MHD_Result answer_body(struct request *r,
                                   int (*put)(struct buf *, const struct store_row *,
                                              const struct row *))
{
    struct write_call *c = r->call;
    struct row fields = {.json = {c->body.data, c->body.len}};
    struct store_row row = {0};
    struct buf b;
    if (c->err != 0)
        return answer_error(r);
    buf_init(&b, RECORD_VALUE_MAX);
    if (put(&b, &row, &fields) != 0) {
        buf_fini(&b);
        return v1_error(r, 500, SERVER_ERROR);
    }
    buf_putc(&b, '\n');
    return reply(r,
                 &(struct answer){
                     .status = 200, .type = V1_JSON, .body = &b, .forwarded_to = c->forwarded_to});
}

/* What a request asks for, as Go's decoder left it to Blox: a member's name is the same in any
 * case, a later one goes over an earlier one, and a value of another type than the member's is an
 * empty one. NULL: absent. */
struct asked {
    const char *name, *definition, *cluster;
    bool has_group;
};

static const char *take_text(const char *before, const json_t *value)
{
    if (json_is_null(value))
        return NULL;
    if (json_is_string(value))
        return json_string_value(value);
    return before == NULL ? "" : before;
}

static void take_group(struct asked *a, json_t *group)
{
    const char *key;
    json_t *value;
    a->has_group = !json_is_null(group);
    if (!a->has_group)
        a->cluster = "";
    json_object_foreach(group, key, value)
    {
        if (strcasecmp(key, "cluster") == 0 && json_is_string(value))
            a->cluster = json_string_value(value);
    }
}

static struct asked read_asked(json_t *body)
{
    struct asked a = {.cluster = ""};
    const char *key;
    json_t *value;
    json_object_foreach(body, key, value)
    {
        if (strcasecmp(key, "name") == 0)
            a.name = take_text(a.name, value);
        else if (strcasecmp(key, "taskDefinition") == 0)
            a.definition = take_text(a.definition, value);
        else if (strcasecmp(key, "instanceGroup") == 0)
            take_group(&a, value);
    }
    return a;
}

/* The text of Blox's generated validation: a heading, then a line for each member that is wrong, in
 * the order of their names. Behind it Blox asked ECS, and what that did not know was 404, if it was
 * not a crash. */
static bool refuse_environment(struct request *r, const struct asked *a, enum MHD_Result *ret)
{
    bool name_wrong = a->name == NULL || !is_environment_name(a->name);
    *ret = MHD_YES;
    if (!a->has_group || name_wrong || a->definition == NULL)
        *ret = v1_errorf(r, 400, "validation failure list:%s%s%s",
                         a->has_group ? "" : "\ninstanceGroup in body is required",
                         !name_wrong       ? ""
                         : a->name == NULL ? "\nname in body is required"
                                           : "\nname in body should match '^[a-zA-Z0-9-_]{1,30}$'",
                         a->definition != NULL ? "" : "\ntaskDefinition in body is required");
    else if (a->cluster[0] == '\0')
        *ret = v1_error(r, 404, "Cluster in the instance group is missing");
    else if (!v1_is_cluster(a->cluster))
        *ret = v1_error(r, 404, "Invalid cluster ARN or name");
    else if (a->definition[0] == '\0')
        *ret = v1_error(r, 404, "Task definition is missing");
    else
        return false;
    return true;
}

static enum MHD_Result answer_created(struct request *r, const char *name)
{
    if (r->call->err != ERR_EXISTS)
        return answer_body(r, v1_put_environment);
    return v1_errorf(r, 400, "Error saving environment %s to store: %s", name, r->call->detail);
}

static enum MHD_Result create_environment(struct request *r)
{
    enum MHD_Result ret;
    /* Malformed JSON is as good as no body. */
    json_t *body = r->body.len > 0 ? json_parse_lenient(r->body.data, r->body.len, NULL) : NULL;
    const struct asked asked = read_asked(body);
    if (r->call != NULL) {
        ret = answer_created(r, asked.name);
    } else if (!refuse_environment(r, &asked, &ret)) {
        json_t *command =
            json_pack("{s:s, s:s, s:s, s:s}", "op", "environment.create", "name", asked.name,
                      "cluster", asked.cluster, "taskDefinition", asked.definition);
        ret = command == NULL ? v1_error(r, 500, SERVER_ERROR) : submit(r, command);
    }
    json_decref(body);
    return ret;
}

/* An empty body was plain text to Go's server, if nobody said otherwise. */
static enum MHD_Result answer_deleted(struct request *r, const char *forwarded_to)
{
    return reply(r, &(struct answer){.status = 200, .type = V1_TEXT, .forwarded_to = forwarded_to});
}

static enum MHD_Result delete_environment(struct request *r, const char *name)
{
    if (!is_environment_name(name)) /* none is called that, and deleting the absent is no error */
        return answer_deleted(r, NULL);
    if (r->call == NULL) {
        json_t *command =
            json_pack("{s:s, s:s, s:b}", "op", "environment.delete", "name", name, "stopTasks", 0);
        return command == NULL ? v1_error(r, 500, SERVER_ERROR) : submit(r, command);
    }
    if (r->call->err != 0 && r->call->err != ERR_NOTFOUND)
        return answer_error(r);
    return answer_deleted(r, r->call->forwarded_to);
}

static enum MHD_Result create_deployment(struct request *r, const char *environment)
{
    const char *token = request_param(r, "deploymentToken"); /* v1_environments_has() looked */
    if (r->call != NULL ? r->call->err == ERR_NOTFOUND : !is_environment_name(environment))
        return v1_errorf(r, 404, "Environment with name '%s' does not exist", environment);
    if (r->call != NULL)
        return answer_body(r, v1_put_deployment);
    json_t *command = json_pack("{s:s, s:s, s:s}", "op", "deployment.create", "environment",
                                environment, "token", token);
    return command == NULL ? v1_error(r, 500, SERVER_ERROR) : submit(r, command);
}

/* -- routes ------------------------------------------------------------------------ */

/* "" or "/NAME" or "/NAME/deployments" or "/NAME/deployments/ID": the name, and what stands behind
 * it. Any text may be asked for, also what no environment can be called. false: nothing of Blox's.
 */
static bool split(const char *rest, char name[API_URI_MAX + 1], const char **ret_tail)
{
    size_t len = strcspn(rest + 1, "/");
    if (len == 0 || len > API_URI_MAX)
        return false;
    memcpy(name, rest + 1, len);
    name[len] = '\0';
    *ret_tail = rest + 1 + len;
    return true;
}

bool v1_environments_has(const struct request *r, const char *rest)
{
    char name[API_URI_MAX + 1];
    const char *tail;
    if (rest[0] == '\0')
        return r->method == METHOD_GET || r->method == METHOD_POST;
    if (!split(rest, name, &tail))
        return false;
    if (tail[0] == '\0')
        return r->method == METHOD_GET || r->method == METHOD_DELETE;
    if (strcmp(tail, "/deployments") == 0) {
        const char *token = request_param(r, "deploymentToken");
        return r->method == METHOD_GET ||
               (r->method == METHOD_POST && token != NULL && is_uuid(token));
    }
    return r->method == METHOD_GET && strncmp(tail, "/deployments/", 13) == 0 && tail[13] != '\0' &&
           strchr(tail + 13, '/') == NULL;
}

enum MHD_Result v1_environments(struct request *r, const char *rest)
{
    char name[API_URI_MAX + 1];
    const char *tail;
    if (!v1_environments_has(r, rest))
        return v1_no_page(r);
    if (rest[0] == '\0')
        return r->method == METHOD_GET ? list_environments(r) : create_environment(r);
    if (!split(rest, name, &tail))
        return v1_no_page(r);
    if (tail[0] == '\0')
        return r->method == METHOD_GET ? get_environment(r, name) : delete_environment(r, name);
    if (tail[12] == '/')
        return get_deployment(r, name, tail + 13);
    return r->method == METHOD_GET ? list_deployments(r, name) : create_deployment(r, name);
}
