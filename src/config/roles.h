/* Roles: lists of names, and where they lead. Pure. */
#ifndef BT_ROLES_H
#define BT_ROLES_H

#include "config/config.h"
#include "config/ini.h"

/* "a, b" into the role's targets, which point into `list`, cut up. */
void bt_roles_split(char *list, struct bt_config_role *r, int line, struct bt_ini_faults *faults);
/* Tells whether roles[i] has a name of its own, leads to what is there, and not to itself. */
void bt_roles_check(const struct bt_config *c, int i, int line, struct bt_ini_faults *faults);

#endif
