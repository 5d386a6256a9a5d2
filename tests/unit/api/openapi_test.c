/* SPDX-License-Identifier: Apache-2.0
 * /openapi.json and the router know the same paths and methods. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/json.h"
#include "tests/unit/api/fixture.h"

static struct fixture f;

static json_t *get_description(void)
{
    struct http h = http_get(&f, "/openapi.json");
    struct errmsg e = {""};
    cr_assert_eq(h.status, 200);
    json_t *doc = json_parse(h.body, h.len, &e);
    cr_assert_not_null(doc, "%s", e.text);
    http_free(&h);
    return doc;
}

/* "/v2/tasks/{id}" with something for what is in braces. */
static void fill_in(const char *path, char out[256])
{
    size_t n = 0;
    for (const char *p = path; *p != '\0' && n < 230; p++) {
        if (*p != '{') {
            out[n++] = *p;
            continue;
        }
        memcpy(out + n, "0123456789abcdef", 16);
        n += 16;
        p += strcspn(p, "}");
    }
    out[n] = '\0';
}

static void answer(struct fixture *fx, struct api_write *w)
{
    (void)fx;
    api_write_done(w, ERR_NOTFOUND, "none", NULL, NULL, NULL);
}

/* The router says itself which methods a path takes. */
Test(openapi, methods_are_those_that_the_router_allows)
{
    static const char *const methods[] = {"get", "head", "post", "put", "delete"};
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    const char *path;
    json_t *item;
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    json_t *doc = get_description();
    cr_assert_str_eq(json_str_or(doc, "openapi", ""), "3.1.0");
    json_object_foreach(json_obj(doc, "paths"), path, item)
    {
        char at[256], allow[256];
        fill_in(path, at);
        struct http h = http_do(&f, "PATCH", at, NULL, NULL);
        http_header(&h, "Allow", allow);
        cr_assert_eq(h.status, 405, "PATCH %s: %ld", at, h.status);
        http_free(&h);
        for (size_t i = 0; i < 5; i++) {
            bool allowed = false;
            for (const char *p = allow; *p != '\0'; p += strspn(p, ", ")) {
                size_t len = strcspn(p, ",");
                allowed = allowed || (len == strlen(names[i]) && strncmp(p, names[i], len) == 0);
                p += len;
            }
            cr_assert_eq(json_obj(item, methods[i]) != NULL, allowed, "%s %s; Allow: %s", names[i],
                         path, allow);
        }
        /* What it promises to answer is there. */
        h = http_get(&f, strcmp(path, "/v2/watch") == 0 ? "/v2/watch?kinds=x" : at);
        cr_assert(h.status != 404 || strstr(h.body, "there is no page") == NULL, "%s", path);
        http_free(&h);
    }
    json_decref(doc);
    fixture_stop(&f);
}

/* Some path is that, or ends with it behind a slash. */
static bool is_described(json_t *paths, const char *end)
{
    const char *path;
    json_t *item;
    char tail[160];
    snprintf(tail, sizeof tail, "%s%s", end[0] == '/' ? "" : "/", end);
    json_object_foreach(paths, path, item)
    {
        size_t n = strlen(path), len = strlen(tail);
        if (n >= len && strcmp(path + n - len, tail) == 0)
            return true;
    }
    return false;
}

/* Every path that the router's source compares with. */
Test(openapi, every_path_of_the_router_is_described)
{
    static const char *const files[] = {"agent/api/v2.c", "agent/api/v2_leader.c",
                                        "agent/api/root.c"};
    static const char *const calls[] = {"strcmp(name, \"", "strcmp(tail, \"",
                                        "strcmp(rest + len, \"", "strcmp(r->path, \""};
    static char source[65536];
    unsigned seen = 0;
    fixture_start(&f, NULL);
    json_t *doc = get_description();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        FILE *file = fopen(files[i], "r");
        cr_assert_not_null(file, "%s: run from the repository's root", files[i]);
        source[fread(source, 1, sizeof source - 1, file)] = '\0';
        fclose(file);
        for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++)
            for (char *p = source; (p = strstr(p, calls[c])) != NULL; seen++) {
                char path[128];
                p += strlen(calls[c]);
                snprintf(path, sizeof path, "%.*s", (int)strcspn(p, "\""), p);
                cr_assert(is_described(json_obj(doc, "paths"), path), "%s: %s", files[i], path);
            }
    }
    static const char *const tables[] = {"instances", "tasks",   "deployments",
                                         "agent",     "members", "leader"};
    for (size_t i = 0; i < 6; i++)
        cr_assert(is_described(json_obj(doc, "paths"), tables[i]), "%s", tables[i]);
    cr_assert_gt(seen, 10u);
    json_decref(doc);
    fixture_stop(&f);
}

static json_t *resolved(json_t *doc, json_t *node)
{
    const char *ref = json_str(node, "$ref");
    if (ref == NULL)
        return node;
    json_t *parameters = json_obj(json_obj(doc, "components"), "parameters");
    return json_object_get(parameters, strrchr(ref, '/') + 1);
}

/* Puts the names of an operation's parameters in the query into the set. */
static void add_params(json_t *doc, json_t *operation, json_t *set)
{
    size_t i;
    json_t *param;
    json_array_foreach(json_arr(operation, "parameters"), i, param)
    {
        param = resolved(doc, param);
        if (strcmp(json_str_or(param, "in", ""), "query") == 0)
            json_object_set_new(set, json_str_or(param, "name", "?"), json_true());
    }
}

/* What is described is known, and what is not described of a path is refused there. */
Test(openapi, parameters_are_those_that_the_router_knows)
{
    static const char *const paths[] = {"/v2/tasks",
                                        "/v2/tasks/{id}",
                                        "/v2/instances",
                                        "/v2/instances/{id}",
                                        "/v2/environments",
                                        "/v2/environments/{name}",
                                        "/v2/environments/{name}/deployments",
                                        "/v2/deployments",
                                        "/v2/summary",
                                        "/v2/decisions",
                                        "/v2/agent",
                                        "/v2/members"};
    const char *name;
    json_t *any, *operation;
    fixture_start(&f, NULL);
    fixture_put_environment(&f, "web", "active");
    json_t *doc = get_description(), *all = json_object();
    json_object_foreach(json_obj(doc, "paths"), name,
                        any) if ((operation = json_obj(any, "get")) != NULL)
        add_params(doc, operation, all);
    cr_assert_gt(json_object_size(all), 20u);
    json_object_del(all, "filter"); /* what these are good for is told in words of their own */
    json_object_del(all, "consistency");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        json_t *own = json_object();
        add_params(doc, json_obj(json_obj(json_obj(doc, "paths"), paths[i]), "get"), own);
        json_object_foreach(all, name, any)
        {
            char path[200];
            const char *brace = strchr(paths[i], '{');
            int len = brace == NULL ? (int)strlen(paths[i]) : (int)(brace - paths[i]);
            const char *tail = brace == NULL ? "" : strchr(brace, '}') + 1;
            snprintf(path, sizeof path, "%.*s%s%s?%s=", len, paths[i], brace == NULL ? "" : "web",
                     tail, name);
            struct http h = http_get(&f, path);
            bool unknown = strstr(h.body, "unknown parameter") != NULL;
            cr_expect_eq(unknown, json_object_get(own, name) == NULL, "%s: %ld %s", path, h.status,
                         h.body);
            http_free(&h);
        }
        json_decref(own);
    }
    json_decref(all);
    json_decref(doc);
    fixture_stop(&f);
}

/* HEAD is GET without the body: it may be asked the same. */
Test(openapi, head_takes_what_get_takes)
{
    const char *name;
    json_t *path;
    fixture_start(&f, NULL);
    json_t *doc = get_description();
    json_object_foreach(json_obj(doc, "paths"), name, path)
    {
        json_t *get = json_arr(json_obj(path, "get"), "parameters");
        json_t *head = json_arr(json_obj(path, "head"), "parameters");
        bool none = json_array_size(get) == 0 && json_array_size(head) == 0;
        cr_expect(none || json_equal(get, head), "%s", name);
    }
    json_decref(doc);
    fixture_stop(&f);
}

/* Every operation may fail, and says how it tells. */
Test(openapi, every_operation_tells_of_errors)
{
    static const char *const methods[] = {"get", "head", "post", "put", "delete"};
    const char *name;
    json_t *path;
    fixture_start(&f, NULL);
    json_t *doc = get_description();
    json_object_foreach(json_obj(doc, "paths"), name,
                        path) for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
    {
        json_t *operation = json_obj(path, methods[i]);
        json_t *fallback = json_obj(json_obj(operation, "responses"), "default");
        cr_expect(operation == NULL || strcmp(json_str_or(fallback, "$ref", ""),
                                              "#/components/responses/Problem") == 0,
                  "%s %s", methods[i], name);
    }
    json_decref(doc);
    fixture_stop(&f);
}

static bool is_of_type(const json_t *value, const char *type)
{
    return (json_is_string(value) && strcmp(type, "string") == 0) ||
           (json_is_integer(value) && strcmp(type, "integer") == 0) ||
           (json_is_array(value) && strcmp(type, "array") == 0) ||
           (json_is_object(value) && strcmp(type, "object") == 0);
}

/* What an answer has is described, by its type, and what must be there is. Each member that was
 * met is noted. */
static void check_described(json_t *schema, json_t *value, json_t *met)
{
    const char *name;
    json_t *member;
    size_t i;
    json_array_foreach(json_arr(schema, "required"), i, member)
        cr_expect_not_null(json_object_get(value, json_string_value(member)), "%s is missing",
                           json_string_value(member));
    json_object_foreach(value, name, member)
    {
        json_t *described = json_obj(json_obj(schema, "properties"), name);
        cr_expect(is_of_type(member, json_str_or(described, "type", "?")), "%s", name);
        json_object_set_new(met, name, json_true());
    }
}

/* Errors are what the description says of them, and it says nothing more. */
Test(openapi, errors_are_as_described)
{
    static const struct {
        const char *path;
        long status;
    } cases[] = {
        {"/v2/tasks?nonsense=1", 400}, {"/v2/tasks/none", 404}, {"/v2/tasks?max_stale=1s", 503}};
    const char *name;
    json_t *any;
    fixture_start(&f, NULL);
    json_t *doc = get_description(), *met = json_object(), *met_inside = json_object();
    json_t *components = json_obj(doc, "components");
    json_t *schema = json_obj(json_obj(components, "schemas"), "Problem");
    json_t *inside = json_obj(json_obj(json_obj(schema, "properties"), "errors"), "items");
    json_t *content = json_obj(json_obj(json_obj(components, "responses"), "Problem"), "content");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char type[256];
        struct http h = http_get(&f, cases[i].path);
        cr_expect_eq(h.status, cases[i].status, "%s: %ld", cases[i].path, h.status);
        http_header(&h, "Content-Type", type);
        json_t *as = json_obj(json_obj(content, type), "schema");
        cr_expect_str_eq(json_str_or(as, "$ref", ""), "#/components/schemas/Problem", "%s", type);
        json_t *body = json_parse(h.body, h.len, NULL);
        check_described(schema, body, met);
        size_t n;
        json_array_foreach(json_arr(body, "errors"), n, any)
            check_described(inside, any, met_inside);
        json_decref(body);
        http_free(&h);
    }
    json_object_foreach(json_obj(schema, "properties"), name, any)
        cr_expect_not_null(json_object_get(met, name), "%s is in no error", name);
    json_object_foreach(json_obj(inside, "properties"), name, any)
        cr_expect_not_null(json_object_get(met_inside, name), "errors.%s is in none", name);
    json_decref(met);
    json_decref(met_inside);
    json_decref(doc);
    fixture_stop(&f);
}

/* Every $ref leads somewhere. */
static void check_refs(json_t *doc, json_t *node)
{
    const char *name;
    json_t *inner;
    size_t i;
    const char *ref = json_str(node, "$ref");
    if (ref != NULL) {
        char copy[128], *rest = NULL;
        json_t *at = doc;
        cr_assert(strncmp(ref, "#/", 2) == 0 && strlen(ref) < sizeof copy, "%s", ref);
        snprintf(copy, sizeof copy, "%s", ref + 2);
        for (char *part = strtok_r(copy, "/", &rest); part != NULL;
             part = strtok_r(NULL, "/", &rest))
            at = json_object_get(at, part);
        cr_assert_not_null(at, "%s", ref);
    }
    if (json_is_array(node))
        json_array_foreach(node, i, inner) check_refs(doc, inner);
    else
        json_object_foreach(node, name, inner) check_refs(doc, inner);
}

Test(openapi, references_resolve)
{
    fixture_start(&f, NULL);
    json_t *doc = get_description();
    check_refs(doc, doc);
    json_decref(doc);
    fixture_stop(&f);
}
