# SPDX-License-Identifier: Apache-2.0
# cmake -DDIR=dashboard -DOUT=dashboard.c -P embed.cmake: the dashboard's files as C arrays.
set(text "/* Made by embed.cmake from dashboard/. */\n#include \"agent/api/dashboard.h\"\n")
foreach(kind html css js)
    file(READ ${DIR}/dashboard.${kind} hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR len "${digits} / 2")
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(APPEND text "const unsigned char dashboard_${kind}[] = {${bytes}};\n"
        "const size_t dashboard_${kind}_len = ${len};\n")
endforeach()
file(WRITE ${OUT} "${text}")
