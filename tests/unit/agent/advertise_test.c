/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/advertise.h"

#include <criterion/criterion.h>
#include <stdio.h>

static bool yes(const char *address)
{
    return address[0] != '\0';
}

static bool no(const char *address)
{
    return address[0] == '\0';
}

Test(advertise, what_peers_are_told)
{
    static const struct {
        const char *bind, *advertise, *address, *address6;
        bool (*on_host)(const char *);
        const char *told;
    } cases[] = {
        {"[::]:7381", "", "10.0.0.5", "", yes, "10.0.0.5:7381"},
        {"[::]:7381", "", "10.0.0.5", "fd00::5", yes, "10.0.0.5:7381, [fd00::5]:7381"},
        {"[::]:7381", "", "10.0.0.5", "fd00::5", no, "10.0.0.5:7381"},
        {"[::]:7381", "", "", "fd00::5", yes, "[fd00::5]:7381"},
        {"[::]:7381", "", "", "", yes, ""},
        {"0.0.0.0:7381", "", "10.0.0.5", "fd00::5", yes, "10.0.0.5:7381"},
        {"10.9.9.9:7381", "", "10.0.0.5", "fd00::5", yes, "10.9.9.9:7381"},
        {"[::]:7381", "a:1, [::1]:2", "10.0.0.5", "fd00::5", yes, "a:1, [::1]:2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char bind[64], advertise[64], out[200];
        struct identity id = {0};
        snprintf(bind, sizeof bind, "%s", cases[i].bind);
        snprintf(advertise, sizeof advertise, "%s", cases[i].advertise);
        struct config c = {.gossip_bind = bind, .gossip_advertise = advertise};
        snprintf(id.address, sizeof id.address, "%s", cases[i].address);
        snprintf(id.address6, sizeof id.address6, "%s", cases[i].address6);
        advertise_choose(&c, &id, cases[i].on_host, out, sizeof out);
        cr_expect_str_eq(out, cases[i].told, "case %zu: %s", i, out);
    }
}

/* ECS takes no brackets and no commas in an attribute, and 128 characters. */
Test(advertise, as_an_attribute_and_back)
{
    static const struct {
        const char *told, *value;
        const char *read[3];
    } cases[] = {
        {"10.0.0.5:7381", "10.0.0.5:7381", {"10.0.0.5:7381"}},
        {"[fd00::5]:7381", "fd00::5:7381", {"[fd00::5]:7381"}},
        {" 10.0.0.5:7381,[fd00::5]:7381 ,10.1.0.5:7381",
         "10.0.0.5:7381 fd00::5:7381 10.1.0.5:7381",
         {"10.0.0.5:7381", "[fd00::5]:7381", "10.1.0.5:7381"}},
        {"[2001:0db8:0000:0000:0000:0000:0000:0001]:17381,[2001:0db8:0000:0000:0000:0000:0000:0002]"
         ":17381,[2001:0db8:0000:0000:0000:0000:0000:0003]:17381",
         "2001:0db8:0000:0000:0000:0000:0000:0001:17381 "
         "2001:0db8:0000:0000:0000:0000:0000:0002:17381",
         {"[2001:0db8:0000:0000:0000:0000:0000:0001]:17381",
          "[2001:0db8:0000:0000:0000:0000:0000:0002]:17381"}},
        {"nonsense", "nonsense", {NULL}},
        {"", "", {NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char value[ADVERTISE_VALUE_MAX + 1], text[ADVERTISE_VALUE_MAX + 4];
        advertise_value(cases[i].told, value);
        cr_expect_str_eq(value, cases[i].value, "case %zu: %s", i, value);
        const char *at = value;
        for (size_t k = 0; k < 3 && cases[i].read[k] != NULL; k++) {
            cr_assert(advertise_next(&at, text, sizeof text), "case %zu", i);
            cr_expect_str_eq(text, cases[i].read[k]);
        }
        cr_expect(!advertise_next(&at, text, sizeof text), "case %zu: no more", i);
    }
}
