/* SPDX-License-Identifier: Apache-2.0
 * The cluster query language and its patterns, on an instance with one value of everything. An
 * expression and its negation must never both hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "scheduler/select.h"
#include "tests/fuzz/fuzz.h"

static struct model model;
static struct model_instance *instance;

static void *resize(void *arg, void *memory, size_t size)
{
    (void)arg;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    return realloc(memory, size);
}

static void make_instance(void)
{
    static const struct model_attribute attributes[] = {{"ecs.availability-zone", "us-east-1a"},
                                                        {"ecs.instance-type", "m5.large"},
                                                        {"size", "12"},
                                                        {"stack", "prod"},
                                                        {"tag", NULL}};
    struct model_instance_row row = {.arn = "arn:aws:ecs:us-east-1:1:container-instance/c/i",
                                     .cluster = "c",
                                     .status = "ACTIVE",
                                     .ec2_id = "i-0123",
                                     .zone = "us-east-1a",
                                     .agent_version = "1.79.2",
                                     .connected = true,
                                     .version = 1,
                                     .registered_unix_ms = 1700000000000,
                                     .running_tasks = 3,
                                     .attributes = attributes,
                                     .attribute_count = 5};
    model_init(&model, 16, 16, resize, NULL);
    ENSURE(model_put_instance(&model, &row, 1, &instance) == 0 && instance != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct select sel, negated;
    static char text[4096], other[4200];
    struct errmsg e;
    struct pattern p;
    size_t at = 0;
    if (instance == NULL)
        make_instance();
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (pattern_compile(&p, text, &at, &e) == 0) {
        (void)pattern_match(&p, "us-east-1a");
        (void)pattern_match(&p, "");
    } else {
        ENSURE(at <= strlen(text));
    }
    if (select_parse(&sel, text, &at, &e) != 0) {
        ENSURE(at <= strlen(text));
        return 0;
    }
    bool holds = select_match(&sel, instance, "daemon:web");
    if (sel.everything) {
        ENSURE(holds);
        return 0;
    }
    snprintf(other, sizeof other, "not (%s)", text);
    if (select_parse(&negated, other, &at, &e) == 0) /* may be too long or too deep now */
        ENSURE(select_match(&negated, instance, "daemon:web") != holds);
    return 0;
}
