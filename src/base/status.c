/* Status texts and errors: pure functions over the one table in baton.h. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

const char *baton_status_name(baton_status status) {
    switch (status) {
#define NAME_CASE(name, number, family, text)                                                                          \
    case BATON_##name:                                                                                                 \
        return #name;
        BATON_STATUS_MAP(NAME_CASE)
#undef NAME_CASE
    }
    return "UNKNOWN";
}

const char *baton_status_text(baton_status status) {
    switch (status) {
#define TEXT_CASE(name, number, family, text)                                                                          \
    case BATON_##name:                                                                                                 \
        return text;
        BATON_STATUS_MAP(TEXT_CASE)
#undef TEXT_CASE
    }
    return "a number that is no status";
}

baton_status_family baton_status_family_of(baton_status status) {
    switch (status) {
#define FAMILY_CASE(name, number, family, text)                                                                        \
    case BATON_##name:                                                                                                 \
        return BATON_FAMILY_##family;
        BATON_STATUS_MAP(FAMILY_CASE)
#undef FAMILY_CASE
    }
    return BATON_FAMILY_WORLD;
}

baton_status bt_fail(baton_error *err, baton_status status, const char *format, ...) {
    if (!err)
        return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    bt_line_clean(err->text); /* names may have been cut, and so may this be */
    return status;
}
