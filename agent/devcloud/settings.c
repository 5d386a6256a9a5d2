/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "agent/devcloud/instances.h"
#include "agent/devcloud/services.h"

enum setting_kind { SET_NUMBER, SET_MS, SET_RANGE, SET_BOOL };

static const struct {
    const char *name;
    enum setting_kind kind;
    size_t offset;
} SETTINGS[] = {
#define S(name, kind)                                                                              \
    {                                                                                              \
#name, kind, offsetof(struct settings, name)                                               \
    }
    S(event_loss, SET_NUMBER),
    S(event_duplicate, SET_NUMBER),
    S(event_delay_ms, SET_RANGE),
    S(step_ms, SET_RANGE),
    S(stop_step_ms, SET_RANGE),
    S(agent_lag_ms, SET_MS),
    S(read_lag_ms, SET_MS),
    S(stopped_retention_ms, SET_MS),
    S(credentials_ttl_s, SET_MS),
    S(throttle, SET_NUMBER),
    S(agent_flaps_per_hour, SET_NUMBER),
    S(short_arns, SET_BOOL),
    S(short_lifecycle, SET_BOOL),
    S(strict, SET_BOOL),
#undef S
};
#define SETTING_COUNT (sizeof(SETTINGS) / sizeof(SETTINGS[0]))

void settings_init(struct settings *set)
{
    *set = (struct settings){.event_duplicate = 0.01,
                             .event_delay_ms = {5, 150},
                             .step_ms = {20, 80},
                             .stop_step_ms = {20, 80},
                             .agent_lag_ms = 100,
                             .stopped_retention_ms = 3600 * 1000,
                             .credentials_ttl_s = 6 * 3600,
                             .throttle = 1,
                             .draining_start = "accept",
                             .strict = true};
}

static int set_range(uint64_t range[2], const json_t *value, const char *name, struct errmsg *e)
{
    const json_t *low = json_is_array(value) ? json_array_get(value, 0) : value;
    const json_t *high = json_is_array(value) ? json_array_get(value, 1) : value;

    if (!json_is_integer(low) || !json_is_integer(high) || json_integer_value(low) < 0 ||
        json_integer_value(high) < json_integer_value(low))
        return errmsg_set(e, ERR_BADPARAM,
                          "%s must be milliseconds or [shortest, longest] milliseconds", name);
    range[0] = (uint64_t)json_integer_value(low);
    range[1] = (uint64_t)json_integer_value(high);
    return 0;
}

static int set_one(struct settings *set, size_t i, const json_t *value, struct errmsg *e)
{
    void *at = (char *)set + SETTINGS[i].offset;
    const char *name = SETTINGS[i].name;

    switch (SETTINGS[i].kind) {
    case SET_NUMBER:
        if (!json_is_number(value) || json_number_value(value) < 0)
            return errmsg_set(e, ERR_BADPARAM, "%s must be a number of at least 0", name);
        *(double *)at = json_number_value(value);
        return 0;
    case SET_MS:
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return errmsg_set(e, ERR_BADPARAM, "%s must be a whole number of at least 0", name);
        *(uint64_t *)at = (uint64_t)json_integer_value(value);
        return 0;
    case SET_RANGE:
        return set_range(at, value, name, e);
    case SET_BOOL:
        if (!json_is_boolean(value))
            return errmsg_set(e, ERR_BADPARAM, "%s must be true or false", name);
        *(bool *)at = json_is_true(value);
        return 0;
    }
    return ERR_INTERNAL;
}

static void flaps_changed(struct devcloud *cloud)
{
    size_t at = 0;
    const char *key;
    void *value;

    while (map_next(&cloud->by_ec2_id, &at, &key, &value))
        instance_flaps_start(cloud, value);
}

int settings_apply(struct devcloud *cloud, const json_t *args, struct errmsg *e)
{
    struct settings set = cloud->set;
    const char *key;
    const json_t *value;
    int err = 0;

    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        size_t i = 0;
        while (i < SETTING_COUNT && strcmp(SETTINGS[i].name, key) != 0)
            i++;
        if (i < SETTING_COUNT) {
            err = set_one(&set, i, value, e);
        } else if (strcmp(key, "draining_start") == 0 && json_is_string(value) &&
                   (strcmp(json_string_value(value), "accept") == 0 ||
                    strcmp(json_string_value(value), "refuse") == 0)) {
            snprintf(set.draining_start, sizeof(set.draining_start), "%s",
                     json_string_value(value));
        } else {
            err = errmsg_set(e, ERR_BADPARAM, "unknown setting or value: '%.60s'", key);
        }
        if (err != 0)
            return err;
    }
    bool flaps = set.agent_flaps_per_hour != cloud->set.agent_flaps_per_hour;
    cloud->set = set;
    if (flaps)
        flaps_changed(cloud);
    return 0;
}

json_t *settings_render(const struct settings *set)
{
    json_t *out = json_object();

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const void *at = (const char *)set + SETTINGS[i].offset;
        const uint64_t *numbers = at;
        json_t *value = NULL;
        if (SETTINGS[i].kind == SET_NUMBER)
            value = json_real(*(const double *)at);
        else if (SETTINGS[i].kind == SET_MS)
            value = json_integer((json_int_t)numbers[0]);
        else if (SETTINGS[i].kind == SET_RANGE)
            value = json_pack("[I,I]", (json_int_t)numbers[0], (json_int_t)numbers[1]);
        else
            value = json_boolean(*(const bool *)at);
        json_object_set_new(out, SETTINGS[i].name, value);
    }
    json_set_str(out, "draining_start", set->draining_start);
    return out;
}
