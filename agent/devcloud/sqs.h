/* SPDX-License-Identifier: Apache-2.0
 * The SQS operations. */
#ifndef BLOX_DEVCLOUD_SQS_H
#define BLOX_DEVCLOUD_SQS_H

#include "agent/devcloud/queue.h"
#include "agent/devcloud/request.h"

#define OPERATION(name) void sqs_##name(struct devcloud *cloud, struct request *req)
OPERATION(get_queue_url);
OPERATION(get_queue_attributes);
OPERATION(list_queues);
OPERATION(create_queue);
OPERATION(purge_queue);
OPERATION(receive_message);
OPERATION(send_message);
OPERATION(send_message_batch);
OPERATION(delete_message);
OPERATION(delete_message_batch);
OPERATION(change_message_visibility);
OPERATION(change_message_visibility_batch);

/* The queue that QueueUrl names; NULL with QueueDoesNotExist answered. */
struct queue *sqs_queue(struct devcloud *cloud, struct request *req);

#endif
