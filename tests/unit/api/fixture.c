/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/api/fixture.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/json.h"
#include "agent/base/sha256.h"

/* -- the loop ---------------------------------------------------------------------- */

static void notify(void *arg)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    pthread_cond_broadcast(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

static void submit(void *arg, struct api_write *w)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    ENSURE(f->write_count < sizeof f->writes / sizeof f->writes[0]);
    f->writes[f->write_count++] = w;
    struct buf b;
    buf_init(&b, sizeof f->last_command - 1);
    if (json_write(w->command, &b) == 0)
        memcpy(f->last_command, b.data, b.len + 1);
    buf_fini(&b);
    pthread_cond_broadcast(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

static void *loop(void *arg)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        struct api_write *w = NULL;
        if (f->answer != NULL && f->write_count > 0)
            w = f->writes[--f->write_count];
        if (w != NULL) {
            pthread_mutex_unlock(&f->lock);
            f->answer(f, w);
            pthread_mutex_lock(&f->lock);
            continue;
        }
        pthread_cond_wait(&f->wake, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void write_token(FILE *file, const char *scope, const char *token, const char *expiry)
{
    uint8_t digest[SHA256_SIZE];
    sha256(token, strlen(token), digest);
    fprintf(file, "%s ", scope);
    for (size_t i = 0; i < SHA256_SIZE; i++)
        fprintf(file, "%02x", digest[i]);
    fprintf(file, " %s\n", expiry);
}

void fixture_start(struct fixture *f, const struct api_options *options)
{
    struct errmsg e = {""};
    struct store_report report;
    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    snprintf(f->dir, sizeof f->dir, "/tmp/blox-api-XXXXXX");
    ENSURE(mkdtemp(f->dir) != NULL);
    snprintf(f->socket, sizeof f->socket, "%s/api.sock", f->dir);
    snprintf(f->token_file, sizeof f->token_file, "%s/tokens", f->dir);
    FILE *file = fopen(f->token_file, "w");
    ENSURE(file != NULL);
    fprintf(file, "# tokens of the tests\n\n");
    write_token(file, "read", "read-token", "");
    write_token(file, "write", "write-token", "2999-01-01T00:00:00Z");
    write_token(file, "write", "old-token", "2020-01-01T00:00:00Z");
    fclose(file);
    struct store_options so = {.dir = f->dir,
                               .past_ms = 3600 * 1000,
                               .past_bytes = 8 << 20,
                               .notify = notify,
                               .notify_arg = f};
    if (store_open(&f->store, &so, &report, &e) != 0) {
        fprintf(stderr, "store: %s\n", e.text);
        abort();
    }
    struct api_options o =
        options != NULL ? *options : (struct api_options){.anonymous = API_ANONYMOUS_WRITE};
    o.store = f->store;
    o.bind = o.bind == NULL ? "127.0.0.1:0" : o.bind;
    o.socket_path = f->socket;
    o.token_file = o.token_file == NULL ? f->token_file : o.token_file;
    o.cluster = "prod";
    o.arg = f;
    o.submit = submit;
    if (api_start(&f->api, &o, &e) != 0) {
        fprintf(stderr, "api: %s\n", e.text);
        abort();
    }
    ENSURE(pthread_create(&f->loop, NULL, loop, f) == 0);
}

void fixture_set_answer(struct fixture *f, void (*answer)(struct fixture *f, struct api_write *w))
{
    pthread_mutex_lock(&f->lock);
    f->answer = answer;
    pthread_mutex_unlock(&f->lock);
}

void fixture_stop_api(struct fixture *f)
{
    api_stop(f->api);
    f->api = NULL;
}

void fixture_stop(struct fixture *f)
{
    char command[128];
    if (f->api != NULL)
        api_stop(f->api);
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->wake);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->loop, NULL);
    store_close(f->store);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    ENSURE(system(command) == 0);
}

/* -- rows -------------------------------------------------------------------------- */

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct fixture *f = arg;
    (void)records, (void)changes, (void)count;
    ENSURE(err == 0);
    f->applying--;
}

static void apply(struct fixture *f, const struct record *rec)
{
    for (;;) {
        int err = store_apply(f->store, rec, 1, on_applied, f);
        if (err == 0)
            break;
        ENSURE(err == ERR_BUSY);
        store_poll(f->store);
        usleep(100);
    }
    f->applying++;
}

void fixture_settle(struct fixture *f)
{
    for (int i = 0; f->applying > 0; i++) {
        store_poll(f->store);
        usleep(100);
        ENSURE(i < 300000);
    }
}

void fixture_post(struct fixture *f, uint8_t kind, const char *key, uint64_t version,
                  const char *text)
{
    struct row row = {0};
    struct buf b;
    json_t *json = json_parse(text, strlen(text), NULL);
    const struct {
        enum row_field field;
        const char *member;
    } members[] = {{ROW_CLUSTER, kind < 3 ? "clusterArn" : "cluster"},
                   {ROW_STATUS, kind == RECORD_TASK ? "lastStatus" : "status"},
                   {ROW_DESIRED, "desiredStatus"},
                   {ROW_INSTANCE, kind > RECORD_INSTANCE ? "containerInstanceArn" : "-"},
                   {ROW_STARTED_BY, "startedBy"},
                   {ROW_GROUP, "group"},
                   {ROW_ENVIRONMENT, "environment"},
                   {ROW_EC2_INSTANCE, "ec2InstanceId"},
                   {ROW_ZONE, "availabilityZone"}};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        row_set(&row, members[i].field, json_str(json, members[i].member));
    if (json_is_boolean(json_object_get(json, "agentConnected")))
        row_set(&row, ROW_CONNECTED,
                json_bool_or(json, "agentConnected", false) ? "true" : "false");
    char family[128] = "";
    const char *definition = json_str_or(json, "taskDefinitionArn", "");
    const char *slash = strrchr(definition, '/');
    if (slash != NULL) {
        snprintf(family, sizeof family, "%s", slash + 1);
        char *colon = strchr(family, ':');
        if (colon != NULL) {
            *colon = '\0';
            row_set(&row, ROW_REVISION, colon + 1);
        }
        row_set(&row, ROW_FAMILY, family);
    }
    row.json = (struct row_text){text, strlen(text)};
    buf_init(&b, RECORD_VALUE_MAX);
    ENSURE(row_encode(&row, &b) == 0);
    struct record rec = {.kind = kind,
                         .source = kind < 3 ? SOURCE_EVENT : SOURCE_INTENT,
                         .version = kind < 3 ? (struct record_version){version, 0}
                                             : (struct record_version){1, version},
                         .observed_unix_ms = 1763802069123,
                         .key = key,
                         .key_len = (uint16_t)strlen(key),
                         .value = (const uint8_t *)b.data,
                         .value_len = (uint32_t)b.len};
    apply(f, &rec);
    buf_fini(&b);
    json_decref(json);
}

void fixture_put(struct fixture *f, uint8_t kind, const char *key, uint64_t version,
                 const char *json)
{
    fixture_post(f, kind, key, version, json);
    fixture_settle(f);
}

void fixture_delete(struct fixture *f, uint8_t kind, const char *key, uint64_t version)
{
    struct record rec = {.kind = kind,
                         .source = SOURCE_RECONCILE,
                         .deleted = true,
                         .version = {version, 1},
                         .key = key,
                         .key_len = (uint16_t)strlen(key)};
    apply(f, &rec);
    fixture_settle(f);
}

static void put_task(struct fixture *f, unsigned number, const char *status, uint64_t version)
{
    char key[128], json[2048];
    snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:111122223333:task/prod/%032u", number);
    snprintf(
        json, sizeof json,
        "{\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"" INSTANCE_1 "\","
        "\"containers\":[{\"containerArn\":\"arn:aws:ecs:us-east-1:111122223333:container/prod/"
        "%032u/c1\",\"exitCode\":0,\"image\":\"log-router:2.4.1\",\"lastStatus\":\"%s\","
        "\"name\":\"log-router\",\"networkBindings\":[{\"bindIP\":\"0.0.0.0\",\"containerPort\":"
        "24224,\"hostPort\":24224,\"protocol\":\"tcp\"}],\"runtimeId\":\"7abe53e6e34c73b56bb\"}],"
        "\"cpu\":\"128\",\"createdAt\":\"2026-11-22T09:01:00.125Z\",\"desiredStatus\":\"RUNNING\","
        "\"group\":\"family:log-router\",\"lastStatus\":\"%s\",\"launchType\":\"EC2\","
        "\"memory\":\"256\",\"overrides\":{\"containerOverrides\":[{\"command\":[\"run\"],"
        "\"environment\":[{\"name\":\"A\",\"value\":\"\"}],\"name\":\"log-router\"}],"
        "\"taskRoleArn\":\"arn:aws:iam::111122223333:role/r\"},"
        "\"startedAt\":\"2026-11-22T09:01:08.9Z\",\"startedBy\":\"deployment-%u\","
        "\"taskArn\":\"%s\",\"taskDefinitionArn\":\"arn:aws:ecs:us-east-1:111122223333:"
        "task-definition/log-router:17\",\"version\":%llu}",
        number, status, status, number % 7, key, (unsigned long long)version);
    fixture_post(f, RECORD_TASK, key, version, json);
}

void fixture_put_task(struct fixture *f, unsigned number, const char *status, uint64_t version)
{
    put_task(f, number, status, version);
    fixture_settle(f);
}

void fixture_change_tasks(struct fixture *f, unsigned first, unsigned count, uint64_t version)
{
    for (unsigned i = 0; i < count; i++)
        put_task(f, first + i, "RUNNING", version);
    fixture_settle(f);
}

void fixture_put_tasks(struct fixture *f, unsigned first, unsigned count)
{
    fixture_change_tasks(f, first, count, 1);
}

void fixture_put_instance(struct fixture *f, const char *arn, const char *ec2, const char *status)
{
    char json[2048];
    static uint64_t version = 3;
    snprintf(json, sizeof json,
             "{\"agentConnected\":true,\"attributes\":[{\"name\":\"ecs.os-type\",\"value\":"
             "\"linux\"},{\"name\":\"com.amazonaws.ecs.capability.ecr-auth\"}],"
             "\"availabilityZone\":\"us-east-1a\",\"clusterArn\":\"" CLUSTER "\","
             "\"containerInstanceArn\":\"%s\",\"ec2InstanceId\":\"%s\","
             "\"registeredResources\":[{\"integerValue\":2048,\"name\":\"CPU\",\"type\":"
             "\"INTEGER\"},{\"doubleValue\":1.5,\"name\":\"X\",\"type\":\"DOUBLE\"},"
             "{\"longValue\":7000000000,\"name\":\"Y\",\"type\":\"LONG\"},{\"name\":\"PORTS\","
             "\"stringSetValue\":[\"22\",\"2376\"],\"type\":\"STRINGSET\"}],"
             "\"remainingResources\":[{\"integerValue\":1024,\"name\":\"CPU\",\"type\":"
             "\"INTEGER\"}],\"status\":\"%s\",\"version\":3,\"versionInfo\":{\"agentHash\":"
             "\"4023248\",\"agentVersion\":\"1.96.0\",\"dockerVersion\":\"25.0.8\"}}",
             arn, ec2, status);
    fixture_put(f, RECORD_INSTANCE, arn, version++, json);
}

void fixture_put_environment(struct fixture *f, const char *name, const char *status)
{
    char json[1024];
    static uint64_t version = 10;
    snprintf(json, sizeof json,
             "{\"attributes\":[],\"cluster\":\"" CLUSTER "\",\"createdAt\":"
             "\"2026-11-22T09:00:00.000Z\",\"health\":\"healthy\",\"name\":\"%s\",\"revision\":1,"
             "\"status\":\"%s\",\"taskDefinition\":\"arn:aws:ecs:us-east-1:111122223333:"
             "task-definition/log-router:17\",\"token\":\"11111111-2222-3333-4444-555555555555\"}",
             name, status);
    fixture_put(f, RECORD_ENVIRONMENT, name, version++, json);
}

void fixture_put_deployment(struct fixture *f, const char *environment, const char *id,
                            const char *status, const char *created)
{
    char key[256], json[1024];
    static uint64_t version = 100;
    snprintf(key, sizeof key, "%s/%s", environment, id);
    snprintf(json, sizeof json,
             "{\"cluster\":\"" CLUSTER "\",\"counts\":{\"desired\":1,\"failed\":1,\"pending\":0,"
             "\"running\":0},\"createdAt\":\"%s\",\"environment\":\"%s\",\"failedInstances\":"
             "[{\"arn\":\"" INSTANCE_1 "\",\"reason\":\"RESOURCE:MEMORY\"}],\"id\":\"%s\","
             "\"revision\":1,\"status\":\"%s\",\"taskDefinition\":\"arn:aws:ecs:us-east-1:"
             "111122223333:task-definition/log-router:17\",\"token\":\"t\"}",
             created, environment, id, status);
    fixture_put(f, RECORD_DEPLOYMENT, key, version++, json);
}

/* -- client ------------------------------------------------------------------------ */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    return buf_put(arg, data, size * n) == 0 ? n : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct http *h = arg;
    size_t used = strlen(h->headers);
    if (used + size * n < sizeof h->headers) {
        memcpy(h->headers + used, data, size * n);
        h->headers[used + size * n] = '\0';
    }
    return n;
}

static struct http request(struct fixture *f, const char *method, const char *path,
                           const char *headers, const char *body, bool over_unix)
{
    struct http h = {0};
    struct buf b;
    char url[8192];
    CURL *c = curl_easy_init();
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    bool has_type = headers != NULL && strcasestr(headers, "content-type") != NULL;
    if (!has_type)
        list = curl_slist_append(list, body != NULL && body[0] == '{'
                                           ? "Content-Type: application/json"
                                           : "Content-Type:");
    for (const char *p = headers; p != NULL && *p != '\0';) {
        char line[1024];
        size_t len = strcspn(p, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, p);
        list = curl_slist_append(list, line);
        p += len + (p[len] == '\n');
    }
    buf_init(&b, 64u << 20);
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", f->api == NULL ? 1u : api_port(f->api),
             path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &b);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &h);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    if (over_unix)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, f->socket);
    if (body != NULL)
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(c) == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &h.status);
    curl_slist_free_all(list);
    curl_easy_cleanup(c);
    buf_put(&b, "", 0);
    h.body = buf_steal(&b, &h.len);
    if (h.body == NULL)
        h.body = calloc(1, 1);
    return h;
}

struct http http_do(struct fixture *f, const char *method, const char *path, const char *headers,
                    const char *body)
{
    return request(f, method, path, headers, body, false);
}

struct http http_unix(struct fixture *f, const char *method, const char *path, const char *headers,
                      const char *body)
{
    return request(f, method, path, headers, body, true);
}

struct http http_get(struct fixture *f, const char *path)
{
    return request(f, "GET", path, NULL, NULL, false);
}

const char *http_header(const struct http *h, const char *name, char out[256])
{
    size_t len = strlen(name);
    out[0] = '\0';
    for (const char *p = h->headers; (p = strchr(p, '\n')) != NULL;) {
        p++;
        if (strncasecmp(p, name, len) == 0 && p[len] == ':') {
            p += len + 1;
            p += strspn(p, " ");
            snprintf(out, 256, "%.*s", (int)strcspn(p, "\r\n"), p);
            break;
        }
    }
    return out;
}

void http_free(struct http *h)
{
    free(h->body);
    h->body = NULL;
}

int http_connect(const struct fixture *f)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(api_port(f->api))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ENSURE(fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&in, sizeof in) == 0);
    return fd;
}

bool http_read_until(int fd, const char *text, char *out, size_t cap)
{
    size_t len = 0;
    uint64_t end_ms = clock_mono_ms() + 60000;
    out[0] = '\0';
    while (strstr(out, text) == NULL && len + 1 < cap && clock_mono_ms() < end_ms) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 100) != 1)
            continue;
        ssize_t n = recv(fd, out + len, cap - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        out[len] = '\0';
    }
    return strstr(out, text) != NULL;
}
