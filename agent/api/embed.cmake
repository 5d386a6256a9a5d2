# SPDX-License-Identifier: Apache-2.0
# cmake -DDIR=dashboard -DOUT=dashboard.c -P embed.cmake: the dashboard's files and openapi.json
# beside it as C arrays.
set(text "/* Made by embed.cmake from dashboard/. */\n#include \"agent/api/dashboard.h\"\n")
foreach(name dashboard/dashboard.html dashboard/dashboard.css dashboard/dashboard.js openapi.json)
    file(READ ${DIR}/../${name} hex HEX)
    get_filename_component(symbol ${name} NAME)
    string(REPLACE "." "_" symbol ${symbol})
    string(LENGTH "${hex}" digits)
    math(EXPR len "${digits} / 2")
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(APPEND text "const unsigned char ${symbol}[] = {${bytes}};\n"
        "const size_t ${symbol}_len = ${len};\n")
endforeach()
file(WRITE ${OUT} "${text}")
