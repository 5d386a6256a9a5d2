/* SPDX-License-Identifier: Apache-2.0
 * The dashboard's files and the API's description as bytes, made by embed.cmake. */
#ifndef BLOX_AGENT_API_DASHBOARD_H
#define BLOX_AGENT_API_DASHBOARD_H

#include <stddef.h>

extern const unsigned char dashboard_html[], dashboard_css[], dashboard_js[], openapi_json[];
extern const size_t dashboard_html_len, dashboard_css_len, dashboard_js_len, openapi_json_len;

#endif
