/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/intent/intent.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/limits.h"
#include "agent/base/prng.h"
#include "agent/base/row.h"

#define C1 "arn:aws:ecs:us-east-1:123456789012:cluster/c1"
#define TD(n) "arn:aws:ecs:us-east-1:123456789012:task-definition/web:" #n
#define CREATE(name)                                                                               \
    "{'op':'environment.create','name':'" name "','cluster':'" C1                                  \
    "','taskDefinition':'" TD(1) "','now':1000,'id':'id-" name "'"

struct run {
    struct intent *in;
    struct intent_result r;
    const struct store_log_intent *rows;
    size_t count;
    uint64_t index;
};

/* Commands are written with ' for ". */
static void apply(struct run *u, const char *text)
{
    char json[4096];
    snprintf(json, sizeof json, "%s", text);
    for (char *p = json; *p != '\0'; p++)
        if (*p == '\'')
            *p = '"';
    u->index++;
    intent_apply(u->in, u->index, 1, json, strlen(json), &u->r, &u->rows, &u->count);
}

/* "kind/key" of each row, - before a tombstone. */
static const char *rows_of(const struct run *u)
{
    static char text[2048];
    text[0] = '\0';
    for (size_t i = 0; i < u->count; i++) {
        size_t n = strlen(text);
        cr_assert_eq(u->rows[i].version.hi, 1u);
        cr_assert_eq(u->rows[i].version.lo, u->index);
        snprintf(text + n, sizeof text - n, "%s%s%d/%.*s", n > 0 ? " " : "",
                 u->rows[i].deleted ? "-" : "", u->rows[i].kind, u->rows[i].key_len,
                 u->rows[i].key);
    }
    return text;
}

static struct run start(void)
{
    struct run u = {0};
    cr_assert_eq(intent_create(&u.in), 0);
    return u;
}

static const struct {
    const char *command;
    int err;
    const char *field;
} forms[] = {
    {"{'op':'environment.create','name':'a','cluster':'c','taskDefinition':'web'}", 0, ""},
    {"{'op':'environment.create','name':'a_B-9','cluster':'" C1 "','taskDefinition':'web:3',"
     "'attributes':[{'name':'ecs.os-type','value':'linux x/@:.'}],'expression':'attribute:a == "
     "b','key':'k'}",
     0, ""},
    {"{'op':'environment.create','name':'a','cluster':'arn:aws-cn:ecs:cn-north-1:123456789012:"
     "cluster/x','taskDefinition':'arn:aws-us-gov:ecs:r:123456789012:task-definition/w:12'}",
     0, ""},
    {"{'name':'a'}", ERR_BADBODY, "op"},
    {"[]", ERR_BADBODY, "op"},
    {"{'op':'environment.explode'}", ERR_BADBODY, "op"},
    {"{'op':'environment.remove','name':'a'}", ERR_BADBODY, "op"},
    {"{'op':'deployment.status','environment':'a','id':'x','status':'running'}", ERR_BADBODY, "op"},
    {"{'op':'environment.create','cluster':'c','taskDefinition':'web'}", ERR_BADBODY, "name"},
    {"{'op':'environment.create','name':'a','taskDefinition':'web'}", ERR_BADBODY, "cluster"},
    {"{'op':'environment.create','name':'a','cluster':'c'}", ERR_BADBODY, "taskDefinition"},
    {"{'op':'environment.create','name':'a','cluster':'c','taskDefinition':'w','x':1}", ERR_BADBODY,
     "x"},
    {"{'op':'environment.create','name':'','cluster':'c','taskDefinition':'w'}", ERR_BADPARAM,
     "name"},
    {"{'op':'environment.create','name':'a.b','cluster':'c','taskDefinition':'w'}", ERR_BADPARAM,
     "name"},
    {"{'op':'environment.create','name':5,'cluster':'c','taskDefinition':'w'}", ERR_BADPARAM,
     "name"},
    {"{'op':'environment.create','name':'abcdefghijabcdefghijabcdefghijk','cluster':'c',"
     "'taskDefinition':'w'}",
     ERR_BADPARAM, "name"},
    {"{'op':'environment.create','name':'a','cluster':'arn:aws:s3:r:123456789012:cluster/x',"
     "'taskDefinition':'w'}",
     ERR_BADPARAM, "cluster"},
    {"{'op':'environment.create','name':'a','cluster':'arn:aws:ecs:r:1:cluster/x',"
     "'taskDefinition':'w'}",
     ERR_BADPARAM, "cluster"},
    {"{'op':'environment.create','name':'a','cluster':'arn:aws:ecs:r:123456789012:service/x',"
     "'taskDefinition':'w'}",
     ERR_BADPARAM, "cluster"},
    {"{'op':'environment.create','name':'a','cluster':'c','taskDefinition':'w:0'}", ERR_BADPARAM,
     "taskDefinition"},
    {"{'op':'environment.create','name':'a','cluster':'c','taskDefinition':'w:'}", ERR_BADPARAM,
     "taskDefinition"},
    {"{'op':'environment.create','name':'a','cluster':'c','taskDefinition':'arn:aws:ecs:r:"
     "123456789012:task-definition/w'}",
     ERR_BADPARAM, "taskDefinition"},
    {"{'op':'environment.update','name':'a','attributes':{}}", ERR_BADPARAM, "attributes"},
    {"{'op':'environment.update','name':'a','attributes':[{'name':'x'}]}", ERR_BADPARAM,
     "attributes"},
    {"{'op':'environment.update','name':'a','attributes':[{'name':'x','value':' y'}]}",
     ERR_BADPARAM, "attributes"},
    {"{'op':'environment.update','name':'a','attributes':[{'name':'x!','value':'y'}]}",
     ERR_BADPARAM, "attributes"},
    {"{'op':'environment.update','name':'a','attributes':[1,2,3,4,5,6,7,8,9,10,11]}", ERR_BADPARAM,
     "attributes"},
    {"{'op':'environment.update','name':'a','expression':'a\\u0001'}", ERR_BADPARAM, "expression"},
    {"{'op':'environment.update','name':'a','version':-1}", ERR_BADPARAM, "version"},
    {"{'op':'environment.update','name':'a','version':'1'}", ERR_BADPARAM, "version"},
    {"{'op':'environment.update','name':'a','cluster':'c'}", ERR_BADBODY, "cluster"},
    {"{'op':'environment.delete','name':'a','stopTasks':true,'version':3}", 0, ""},
    {"{'op':'environment.delete','name':'a','stopTasks':'yes'}", ERR_BADPARAM, "stopTasks"},
    {"{'op':'deployment.create','environment':'a','key':''}", ERR_BADPARAM, "key"},
    {"{'op':'deployment.create','environment':'a','token':'11111111-2222-3333-4444-"
     "555555555555'}",
     0, ""},
    {"{'op':'deployment.create','environment':'a','token':'nope'}", ERR_BADPARAM, "token"},
    {"{'op':'deployment.create','environment':'a','token':'11111111-2222-3333-4444-"
     "55555555555G'}",
     ERR_BADPARAM, "token"},
};

Test(intent, form_is_checked)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char text[1024];
        struct intent_result r;
        snprintf(text, sizeof text, "%s", forms[i].command);
        for (char *p = text; *p != '\0'; p++)
            if (*p == '\'')
                *p = '"';
        json_t *command = json_parse(text, strlen(text), NULL);
        cr_assert_not_null(command, "case %zu", i);
        int err = intent_check(command, &r);
        cr_assert_eq(err, forms[i].err, "case %zu: %s %s", i, err_name(err), r.detail);
        cr_assert_eq(r.err, err);
        cr_assert_str_eq(r.field, forms[i].field, "case %zu: %s", i, r.field);
        cr_assert_eq(err == 0, r.detail[0] == '\0', "case %zu", i);
        json_decref(command);
    }
}

Test(intent, operations_and_their_errors)
{
    struct run u = start();

    apply(&u, CREATE("web") "}");
    cr_assert_eq(u.r.err, 0, "%s", u.r.detail);
    cr_assert_str_eq(rows_of(&u), "3/web");
    cr_assert_str_eq(json_str(u.r.body, "status"), "active");
    cr_assert_str_eq(json_str(u.r.body, "createdAt"), "1970-01-01T00:00:01.000Z");
    cr_assert_eq(json_int_or(u.r.body, "revision", 0), 1);
    cr_assert_eq(json_array_size(json_arr(u.r.body, "attributes")), 0u);

    const struct {
        const char *command;
        int err;
        const char *field, *rows;
    } cases[] = {
        {CREATE("web") "}", ERR_EXISTS, "name", ""},
        {"{'op':'environment.create'", ERR_MALFORMED, "", ""},
        {"{'op':'environment.update','name':'web'}", ERR_BADBODY, "now", ""},
        {"{'op':'environment.update','name':'nope','now':2000}", ERR_NOTFOUND, "name", ""},
        {"{'op':'environment.update','name':'web','now':2000}", 0, "", ""},
        {"{'op':'environment.update','name':'web','version':7,'expression':'x','now':2000}",
         ERR_PRECONDITION, "version", ""},
        {"{'op':'environment.update','name':'web','version':1,'expression':'x','now':2000}", 0, "",
         "3/web"},
        {"{'op':'environment.update','name':'web','version':1,'expression':'y','now':2000}",
         ERR_PRECONDITION, "version", ""},
        {"{'op':'environment.remove','name':'web','now':2000}", ERR_CONFLICT, "name", ""},
        {"{'op':'environment.remove','name':'nope','now':2000}", 0, "", ""},
        {"{'op':'environment.delete','name':'nope','now':2000}", 0, "", ""},
        {"{'op':'environment.delete','name':'web','version':1,'now':2000}", ERR_PRECONDITION,
         "version", ""},
        {"{'op':'deployment.create','environment':'nope','now':2000,'id':'d0'}", ERR_NOTFOUND,
         "environment", ""},
        {"{'op':'deployment.create','environment':'web','now':2000}", ERR_BADBODY, "id", ""},
        {"{'op':'deployment.create','environment':'web','now':2000,'id':'d0','token':'11111111-"
         "2222-3333-4444-555555555555'}",
         ERR_BADPARAM, "token", ""},
        {"{'op':'deployment.status','environment':'web','id':'d0','status':'running','now':2000}",
         0, "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        apply(&u, cases[i].command);
        cr_assert_eq(u.r.err, cases[i].err, "case %zu: %s %s", i, err_name(u.r.err), u.r.detail);
        cr_assert_str_eq(u.r.field, cases[i].field, "case %zu: %s", i, u.r.field);
        cr_assert_str_eq(rows_of(&u), cases[i].rows, "case %zu", i);
    }
    cr_assert_eq(json_int_or(intent_environment(u.in, "web"), "revision", 0), 2);
    intent_destroy(u.in);
}

/* Blox's way: with the token, one at a time, and again with the new token. */
#define OTHER "00000000-0000-4000-8000-000000000000"

Test(intent, deployments_by_token)
{
    static char token1[40], token2[40];
    char text[1024];
    struct run u = start();
    apply(&u, CREATE("web") "}");
    snprintf(token1, sizeof token1, "%s", json_str(u.r.body, "token"));
    cr_assert_eq(strlen(token1), 36u);
    snprintf(text, sizeof text,
             "{'op':'deployment.create','environment':'web','now':3000,'id':'d1','token':'%s'}",
             token1);
    apply(&u, text);
    cr_assert_eq(u.r.err, 0, "%s", u.r.detail);
    cr_assert_str_eq(rows_of(&u), "4/web/d1 3/web");
    cr_assert_str_eq(json_str(u.r.body, "status"), "pending");
    cr_assert_str_eq(json_str(u.r.body, "token"), token1);
    const json_t *env = intent_environment(u.in, "web");
    cr_assert_str_eq(json_str(env, "activeDeployment"), "d1");
    snprintf(token2, sizeof token2, "%s", json_str(env, "token"));
    cr_assert_str_neq(token1, token2);
    snprintf(text, sizeof text,
             "{'op':'deployment.create','environment':'web','now':3000,'id':'d2','token':'%s'}",
             token1);
    apply(&u, text);
    cr_assert_eq(u.r.err, ERR_BADPARAM);
    char says[256]; /* Blox's words */
    snprintf(says, sizeof says, "Deployment with token '%s' already exists", token1);
    cr_assert_str_eq(u.r.detail, says);
    apply(&u, "{'op':'deployment.create','environment':'web','now':3000,'id':'d2','token':'" OTHER
              "'}");
    snprintf(says, sizeof says,
             "Token '" OTHER "' is outdated and does not match the environment token '%s'", token2);
    cr_assert_str_eq(u.r.detail, says);
    snprintf(text, sizeof text,
             "{'op':'deployment.create','environment':'web','now':3000,'id':'d2','token':'%s'}",
             token2);
    apply(&u, text);
    cr_assert_eq(u.r.err, ERR_CONFLICT);
    cr_assert_str_eq(u.r.detail, "There is already a deployment in progress: d1");
    apply(&u, "{'op':'deployment.status','environment':'web','id':'d1','status':'running','now':"
              "3500,'failedInstances':[{'arn':'i','reason':'RESOURCE:CPU'}],'counts':{'desired':3,"
              "'running':1,'pending':1,'failed':1}}");
    cr_assert_eq(u.r.err, 0, "%s", u.r.detail);
    cr_assert_str_eq(rows_of(&u), "4/web/d1 3/web");
    cr_assert_str_eq(json_str(intent_environment(u.in, "web"), "health"), "unhealthy");
    apply(&u, "{'op':'deployment.status','environment':'web','id':'d1','status':'completed',"
              "'failedInstances':[],'now':4000}");
    cr_assert_str_eq(json_str(u.r.body, "completedAt"), "1970-01-01T00:00:04.000Z");
    cr_assert_str_eq(json_str(intent_environment(u.in, "web"), "health"), "healthy");
    cr_assert_eq(json_int_or(json_obj(u.r.body, "counts"), "desired", 0), 3);
    apply(&u, "{'op':'deployment.status','environment':'web','id':'d1','status':'completed','now':"
              "5000}");
    cr_assert_str_eq(rows_of(&u), "", "nothing new, no row");
    snprintf(text, sizeof text,
             "{'op':'deployment.create','environment':'web','now':6000,'id':'d2','token':'%s'}",
             token2);
    apply(&u, text);
    cr_assert_eq(u.r.err, 0, "%s", u.r.detail);
    cr_assert_str_eq(rows_of(&u), "4/web/d1 4/web/d2 3/web");
    cr_assert_str_eq(json_str(intent_deployment(u.in, "web", "d1"), "status"), "superseded");
    intent_destroy(u.in);
}

/* Without a token a new one supersedes what is under way, with another definition. Deleting an
 * environment with its tasks takes two steps. */
Test(intent, supersede_and_delete)
{
    struct run u = start();
    apply(&u, CREATE("web") "}");
    apply(&u, "{'op':'deployment.create','environment':'web','now':6000,'id':'d1'}");
    apply(&u, "{'op':'deployment.create','environment':'web','now':6000,'id':'d2'}");
    apply(&u, "{'op':'deployment.create','environment':'web','now':7000,'id':'d3',"
              "'taskDefinition':'" TD(2) "'}");
    cr_assert_eq(u.r.err, 0);
    cr_assert_eq(json_int_or(u.r.body, "revision", 0), 2);
    cr_assert_str_eq(json_str(u.r.body, "taskDefinition"), TD(2));
    cr_assert_str_eq(json_str(intent_environment(u.in, "web"), "taskDefinition"), TD(2));
    cr_assert_str_eq(json_str(intent_deployment(u.in, "web", "d2"), "status"), "superseded");
    apply(&u, "{'op':'deployment.status','environment':'web','id':'d2','status':'completed','now':"
              "7500}");
    cr_assert_eq(u.r.err, 0);
    cr_assert_null(u.r.body, "a superseded deployment's status is ignored");
    cr_assert_str_eq(json_str(intent_deployment(u.in, "web", "d2"), "status"), "superseded");
    apply(&u, "{'op':'deployment.create','environment':'web','now':7000,'id':'d3'}");
    cr_assert_eq(u.r.err, ERR_EXISTS);

    apply(&u, "{'op':'environment.delete','name':'web','stopTasks':true,'now':8000}");
    cr_assert_str_eq(rows_of(&u), "3/web");
    cr_assert_str_eq(json_str(u.r.body, "status"), "deleting");
    apply(&u, CREATE("web") "}");
    cr_assert_eq(u.r.err, ERR_EXISTS);
    cr_assert_not_null(strstr(u.r.detail, "being deleted"));
    apply(&u, "{'op':'deployment.create','environment':'web','now':8000,'id':'d4'}");
    cr_assert_eq(u.r.err, ERR_CONFLICT);
    apply(&u, "{'op':'environment.update','name':'web','expression':'z','now':8000}");
    cr_assert_eq(u.r.err, ERR_CONFLICT);
    apply(&u, "{'op':'environment.delete','name':'web','stopTasks':true,'now':8000}");
    cr_assert_eq(u.r.err, 0);
    cr_assert_str_eq(rows_of(&u), "");
    apply(&u, "{'op':'environment.remove','name':'web','now':9000}");
    cr_assert_str_eq(rows_of(&u), "-4/web/d1 -4/web/d2 -4/web/d3 -3/web");
    cr_assert_null(intent_environment(u.in, "web"));
    size_t at = 0;
    cr_assert_null(intent_next(u.in, &at));
    intent_destroy(u.in);
}

Test(intent, the_newest_deployments_are_kept)
{
    struct run u = start();
    char text[256];
    apply(&u, CREATE("web") "}");
    for (int i = 1; i <= DEPLOYMENTS_KEPT + 3; i++) {
        snprintf(text, sizeof text,
                 "{'op':'deployment.create','environment':'web','now':%d,'id':'d%d'}", 1000 + i, i);
        apply(&u, text);
        cr_assert_eq(u.r.err, 0);
    }
    cr_assert_not_null(strstr(rows_of(&u), "-4/web/d3"));
    cr_assert_null(intent_deployment(u.in, "web", "d3"));
    cr_assert_not_null(intent_deployment(u.in, "web", "d4"));
    intent_destroy(u.in);
}

Test(intent, idempotency_keys)
{
    struct run u = start();
    apply(&u, CREATE("web") ",'key':'k1'}");
    cr_assert_eq(u.r.err, 0);
    cr_assert_str_eq(rows_of(&u), "3/web 5/idempotency/k1");
    char *first = json_dumps(u.r.body, JSON_SORT_KEYS);
    apply(&u, "{'op':'environment.update','name':'web','expression':'x','now':1500}");
    /* The same request, sent again later with another id: the same answer, and no change. */
    apply(&u, "{'op':'environment.create','name':'web','cluster':'" C1
              "','taskDefinition':'" TD(1) "','now':2000,'id':'other','key':'k1'}");
    cr_assert_eq(u.r.err, 0);
    cr_assert(u.r.replayed);
    cr_assert_str_eq(rows_of(&u), "");
    char *again = json_dumps(u.r.body, JSON_SORT_KEYS);
    cr_assert_str_eq(first, again);
    free(first);
    free(again);
    apply(&u, CREATE("other") ",'key':'k1'}");
    cr_assert_eq(u.r.err, ERR_MISMATCH);
    cr_assert_str_eq(u.r.field, "key");
    cr_assert_null(intent_environment(u.in, "other"));
    /* A key that was refused may be used for another request. */
    apply(&u, CREATE("web") ",'key':'k2'}");
    cr_assert_eq(u.r.err, ERR_EXISTS);
    apply(&u, CREATE("two") ",'key':'k2'}");
    cr_assert_eq(u.r.err, 0);
    /* With a digest of the request, what was resolved in between does not count. */
    apply(&u, "{'op':'deployment.create','environment':'web','taskDefinition':'web:1','now':3000,"
              "'id':'d1','key':'k3','digest':'abc'}");
    cr_assert_eq(u.r.err, 0);
    apply(&u, "{'op':'deployment.create','environment':'web','taskDefinition':'web:2','now':3001,"
              "'id':'d2','key':'k3','digest':'abc'}");
    cr_assert(u.r.replayed);
    cr_assert_str_eq(json_str(u.r.body, "id"), "d1");
    /* A day later it is forgotten, whatever the next command is. */
    apply(&u, "{'op':'environment.update','name':'web','now':86401000}");
    cr_assert_str_eq(rows_of(&u), "-5/idempotency/k1 -5/idempotency/k2");
    apply(&u, "{'op':'environment.create','name':'web','cluster':'c','taskDefinition':'w','now':"
              "86401001,'id':'x','key':'k1'}");
    cr_assert_eq(u.r.err, ERR_EXISTS);
    intent_destroy(u.in);
}

/* The attempt that was answered first decides: one that was under way longer does not do what the
 * user was told is not done. A minute later none is, and the request may be made again. */
Test(intent, a_refusal_holds_for_late_attempts)
{
    static const char late[] = "{'op':'environment.create','name':'web','cluster':'" C1
                               "','taskDefinition':'" TD(1) "','now':%d,'id':'late','key':'k'}";
    char text[512];
    struct run u = start();
    apply(&u, CREATE("web") "}");
    apply(&u, CREATE("web") ",'key':'k'}");
    cr_assert_eq(u.r.err, ERR_EXISTS);
    cr_assert_str_eq(rows_of(&u), "5/idempotency/k");
    struct intent_result refused = u.r;
    apply(&u, "{'op':'environment.delete','name':'web','now':1500}");
    apply(&u, "{'op':'environment.remove','name':'web','now':1600}");
    struct buf b;
    struct intent *copy;
    buf_init(&b, 1 << 20);
    cr_assert_eq(intent_save(u.in, &b), 0);
    cr_assert_eq(intent_create(&copy), 0);
    cr_assert_eq(intent_load(copy, b.data, b.len, &u.rows, &u.count), 0);
    buf_fini(&b);
    intent_destroy(u.in);
    u.in = copy; /* also where only a snapshot came */
    snprintf(text, sizeof text, late, 60000);
    apply(&u, text);
    cr_assert_eq(u.r.err, ERR_EXISTS);
    cr_assert(u.r.replayed);
    cr_assert_str_eq(u.r.detail, refused.detail);
    cr_assert_str_eq(u.r.field, refused.field);
    cr_assert_null(intent_environment(u.in, "web"));
    snprintf(text, sizeof text, late, 62000);
    apply(&u, text);
    cr_assert_eq(u.r.err, 0);
    cr_assert_not_null(intent_environment(u.in, "web"));
    intent_destroy(u.in);
}

/* Its first answer, a refusal, was neither the oldest nor the newest. */
Test(intent, a_key_used_again_is_as_old_as_its_last_use)
{
    struct run u = start();
    apply(&u, CREATE("web") "}");
    apply(&u, "{'op':'environment.delete','name':'nobody','now':1500,'key':'a'}");
    apply(&u, CREATE("web") ",'key':'k'}");
    cr_assert_eq(u.r.err, ERR_EXISTS);
    apply(&u, "{'op':'environment.delete','name':'nobody','now':1500,'key':'b'}");
    apply(&u, "{'op':'environment.delete','name':'nobody','now':62000,'key':'k'}");
    cr_assert_eq(u.r.err, 0);
    cr_assert(!u.r.replayed);
    static const char *const keys[] = {"a", "b", "k"};
    for (size_t i = 0; i < 3; i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "{'op':'environment.delete','name':'nobody','now':63000,'key':'%s'}", keys[i]);
        apply(&u, text);
        cr_assert(u.r.replayed, "%s", keys[i]);
    }
    apply(&u, "{'op':'environment.delete','name':'nobody','now':86402000}");
    cr_assert_str_eq(rows_of(&u), "-5/idempotency/a -5/idempotency/b");
    apply(&u, "{'op':'environment.delete','name':'nobody','now':86402000,'key':'k'}");
    cr_assert(u.r.replayed);
    intent_destroy(u.in);
}

Test(intent, remembered_keys_are_bounded)
{
    struct run u = start();
    char text[256];
    apply(&u, CREATE("web") "}");
    for (int i = 0; i < IDEMPOTENCY_KEYS_MAX + 5; i++) {
        snprintf(text, sizeof text,
                 "{'op':'environment.delete','name':'nobody','now':2000,'key':'k%d'}", i);
        apply(&u, text);
        cr_assert_eq(u.r.err, 0);
        cr_assert_eq(u.count, i < IDEMPOTENCY_KEYS_MAX ? 1u : 2u);
    }
    apply(&u, "{'op':'environment.delete','name':'nobody','now':2000,'key':'k5'}");
    cr_assert(u.r.replayed);
    apply(&u, "{'op':'environment.delete','name':'nobody','now':2000,'key':'k4'}");
    cr_assert(!u.r.replayed, "the oldest went first");
    intent_destroy(u.in);
}

Test(intent, row_fields_select_without_json)
{
    struct run u = start();
    struct row row;
    apply(&u, CREATE("web") "}");
    apply(&u, "{'op':'deployment.create','environment':'web','now':2000,'id':'d1'}");
    cr_assert_eq(u.count, 2u);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(row_decode(u.rows[i].value, u.rows[i].value_len, &row), 0);
        cr_assert(row_field_is(&row, ROW_CLUSTER, C1));
        cr_assert(row_field_is(&row, ROW_ENVIRONMENT, "web"));
        cr_assert(row_field_is(&row, ROW_FAMILY, "web"));
        cr_assert(row_field_is(&row, ROW_REVISION, "1"));
        cr_assert(row_field_is(&row, ROW_STATUS, i == 0 ? "pending" : "active"));
        json_t *json = json_parse(row.json.data, row.json.len, NULL);
        cr_assert_not_null(json);
        json_decref(json);
    }
    intent_destroy(u.in);
}

/* ---- determinism, snapshots, restart ---- */

static void random_command(struct prng *rng, int n, char out[512])
{
    static const char *const names[] = {"a", "b", "c", "d"};
    const char *name = names[prng_below(rng, 4)];
    int64_t now = 1000 + n * 3600000LL;
    char key[32] = "";
    if (prng_below(rng, 3) == 0)
        snprintf(key, sizeof key, ",'key':'k%u'", (unsigned)prng_below(rng, 20));
    switch (prng_below(rng, 6)) {
    case 0:
        snprintf(out, 512,
                 "{'op':'environment.create','name':'%s','cluster':'c','taskDefinition':'w:%d',"
                 "'now':%lld,'id':'e%d'%s}",
                 name, 1 + n % 3, (long long)now, n, key);
        break;
    case 1:
        snprintf(out, 512,
                 "{'op':'environment.update','name':'%s','expression':'x%d','attributes':[{'name':"
                 "'n','value':'v'}],'now':%lld%s}",
                 name, n % 5, (long long)now, key);
        break;
    case 2:
        snprintf(out, 512, "{'op':'environment.%s','name':'%s'%s,'now':%lld}",
                 n % 3 == 0 ? "remove" : "delete", name,
                 n % 3 == 1 && n % 2 == 0 ? ",'stopTasks':true" : "", (long long)now);
        break;
    case 3:
        snprintf(out, 512,
                 "{'op':'deployment.status','environment':'%s','id':'d%d','status':'completed',"
                 "'failedInstances':[{'arn':'i%d','reason':'AGENT'}],'now':%lld}",
                 name, n - 1 - (int)prng_below(rng, 4), n, (long long)now);
        break;
    default:
        snprintf(out, 512,
                 "{'op':'deployment.create','environment':'%s','taskDefinition':'w:%d','now':%lld,"
                 "'id':'d%d'%s}",
                 name, 1 + n % 4, (long long)now, n, key);
    }
}

static void save(const struct intent *in, struct buf *out)
{
    buf_clear(out);
    cr_assert_eq(intent_save(in, out), 0);
}

/* The last row of each key, as log/ keeps them. */
struct kept {
    struct store_log_intent row;
    char key[64];
    char value[8192];
};

static size_t keep(struct kept *kept, size_t count, const struct store_log_intent *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        while (at < count &&
               (kept[at].row.kind != rows[i].kind || kept[at].row.key_len != rows[i].key_len ||
                memcmp(kept[at].key, rows[i].key, rows[i].key_len) != 0))
            at++;
        if (at == count && rows[i].deleted)
            continue;
        if (rows[i].deleted) {
            memmove(&kept[at], &kept[at + 1], (count - at - 1) * sizeof *kept);
            count--;
            continue;
        }
        count += at == count;
        cr_assert_lt(count, 512u);
        cr_assert_lt(rows[i].value_len, sizeof kept->value);
        kept[at].row = rows[i];
        memcpy(kept[at].key, rows[i].key, rows[i].key_len);
        memcpy(kept[at].value, rows[i].value, rows[i].value_len);
    }
    return count;
}

Test(intent, replicas_snapshots_and_restarts_agree)
{
    static struct kept kept[512];
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct run a = start();
        struct run b = start();
        struct run c = start(); /* joins by a snapshot half way */
        struct prng rng;
        struct buf sa, sb;
        size_t count = 0;
        prng_seed(&rng, seed);
        buf_init(&sa, 8u << 20);
        buf_init(&sb, 8u << 20);
        for (int n = 0; n < 400; n++) {
            char command[512];
            random_command(&rng, n, command);
            apply(&a, command);
            apply(&b, command);
            cr_assert_eq(a.r.err, b.r.err);
            cr_assert_str_eq(a.r.detail, b.r.detail);
            cr_assert_eq(a.count, b.count);
            for (size_t i = 0; i < a.count; i++) {
                cr_assert_eq(a.rows[i].value_len, b.rows[i].value_len);
                if (a.rows[i].value_len > 0)
                    cr_assert_eq(memcmp(a.rows[i].value, b.rows[i].value, a.rows[i].value_len), 0);
            }
            count = keep(kept, count, a.rows, a.count);
            if (n == 200) {
                const struct store_log_intent *rows;
                size_t row_count;
                save(a.in, &sa);
                cr_assert_eq(intent_load(c.in, sa.data, sa.len, &rows, &row_count), 0);
                cr_assert_eq(row_count, count, "a snapshot yields what log/ has");
                c.index = a.index;
            } else if (n > 200) {
                apply(&c, command);
                cr_assert_eq(c.r.err, a.r.err);
            }
        }
        save(a.in, &sa);
        save(b.in, &sb);
        cr_assert_str_eq(sa.data, sb.data);
        save(c.in, &sb);
        cr_assert_str_eq(sa.data, sb.data);
        /* A restart: the rows back, in any order, and on from there. */
        struct run d = start();
        for (size_t i = count; i > 0; i--) {
            kept[i - 1].row.key = kept[i - 1].key;
            kept[i - 1].row.value = kept[i - 1].value;
            cr_assert_eq(intent_restore(d.in, &kept[i - 1].row), 0);
        }
        save(d.in, &sb);
        cr_assert_str_eq(sa.data, sb.data);
        d.index = a.index;
        for (int n = 400; n < 450; n++) {
            char command[512];
            random_command(&rng, n, command);
            apply(&a, command);
            apply(&d, command);
        }
        save(a.in, &sa);
        save(d.in, &sb);
        cr_assert_str_eq(sa.data, sb.data);
        buf_fini(&sa);
        buf_fini(&sb);
        intent_destroy(a.in);
        intent_destroy(b.in);
        intent_destroy(c.in);
        intent_destroy(d.in);
    }
}

Test(intent, a_bad_snapshot_changes_nothing)
{
    struct run u = start();
    struct buf before, after;
    const struct store_log_intent *rows;
    size_t count;
    buf_init(&before, 1 << 20);
    buf_init(&after, 1 << 20);
    apply(&u, CREATE("web") ",'key':'k'}");
    apply(&u, "{'op':'deployment.create','environment':'web','now':2000,'id':'d1'}");
    save(u.in, &before);
    for (size_t len = 0; len < before.len; len += 7)
        cr_assert_eq(intent_load(u.in, before.data, len, &rows, &count), ERR_MALFORMED);
    const char *bad[] = {"{}", "[]", "{\"format\":2,\"environments\":[],\"answers\":[]}",
                         "{\"format\":1,\"environments\":[{}],\"answers\":[]}",
                         "{\"format\":1,\"environments\":[],\"answers\":[{\"row\":{}}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(intent_load(u.in, bad[i], strlen(bad[i]), &rows, &count), ERR_MALFORMED);
    save(u.in, &after);
    cr_assert_str_eq(before.data, after.data);
    struct store_log_intent row = {.kind = RECORD_ENVIRONMENT, .key = "x", .key_len = 1};
    cr_assert_eq(intent_restore(u.in, &row), ERR_MALFORMED);
    row.deleted = true;
    cr_assert_eq(intent_restore(u.in, &row), 0);
    buf_fini(&before);
    buf_fini(&after);
    intent_destroy(u.in);
}
