/* SPDX-License-Identifier: Apache-2.0
 * The dashboard's files as bytes; made from dashboard/ by embed.cmake. */
#ifndef BLOX_AGENT_API_DASHBOARD_H
#define BLOX_AGENT_API_DASHBOARD_H

#include <stddef.h>

extern const unsigned char dashboard_html[], dashboard_css[], dashboard_js[];
extern const size_t dashboard_html_len, dashboard_css_len, dashboard_js_len;

#endif
