/* SPDX-License-Identifier: Apache-2.0
 * Codes shared by the parser and the evaluator of the cluster query language. */
#ifndef BLOX_SCHEDULER_SELECT_INT_H
#define BLOX_SCHEDULER_SELECT_INT_H

enum select_kind { SELECT_TEST, SELECT_NOT, SELECT_AND, SELECT_OR };

enum select_subject {
    SELECT_CONNECTED,
    SELECT_AGENT_VERSION,
    SELECT_ATTRIBUTE,
    SELECT_EC2,
    SELECT_REGISTERED,
    SELECT_RUNNING,
    SELECT_GROUP
};

enum select_op {
    SELECT_EQ,
    SELECT_GT,
    SELECT_GE,
    SELECT_LT,
    SELECT_LE,
    SELECT_IN,
    SELECT_LIKE,
    SELECT_EXISTS
};

#endif
