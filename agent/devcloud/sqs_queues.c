/* SPDX-License-Identifier: Apache-2.0
 * SQS operations on queues. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/services.h"
#include "agent/devcloud/sqs.h"

#define QUEUE_NAME_MAX 80
#define PURGE_PAUSE_MS 60000

void sqs_get_queue_url(struct devcloud *cloud, struct request *req)
{
    const struct queue *q = map_get(&cloud->queues, json_str_or(req->params, "QueueName", ""));
    const char *owner = json_str_or(req->params, "QueueOwnerAWSAccountId", cloud->account);

    if (q == NULL || strcmp(owner, cloud->account) != 0)
        answer_error(&req->answer, 400, "QueueDoesNotExist", "The specified queue does not exist.");
    else
        req->answer.json = json_pack("{s:s}", "QueueUrl", q->url);
}

static json_t *all_attributes(const struct queue *q)
{
    json_t *out =
        json_pack("{s:o,s:o,s:o,s:s,s:o,s:o,s:s,s:s,s:s,s:s,s:s}", "ApproximateNumberOfMessages",
                  json_sprintf("%zu", q->ready_count), "ApproximateNumberOfMessagesNotVisible",
                  json_sprintf("%zu", q->in_flight), "ApproximateNumberOfMessagesDelayed",
                  json_sprintf("%zu", q->delayed), "QueueArn", q->arn, "CreatedTimestamp",
                  json_sprintf("%lld", (long long)q->created_ms / 1000), "LastModifiedTimestamp",
                  json_sprintf("%lld", (long long)q->created_ms / 1000), "VisibilityTimeout", "30",
                  "MaximumMessageSize", "1048576", "MessageRetentionPeriod", "345600",
                  "DelaySeconds", "0", "ReceiveMessageWaitTimeSeconds", "0");

    json_object_update(out, q->attributes);
    return out;
}

void sqs_get_queue_attributes(struct devcloud *cloud, struct request *req)
{
    const struct queue *q = sqs_queue(cloud, req);
    const json_t *one;
    size_t i;

    if (q == NULL)
        return;
    json_t *all = all_attributes(q), *out = json_object();
    json_array_foreach(json_arr(req->params, "AttributeNames"), i, one)
    {
        const char *name = json_string_value(one);
        if (strcmp(name, "All") == 0)
            json_object_update(out, all);
        else if (json_object_get(all, name) != NULL)
            json_object_set(out, name, json_object_get(all, name));
    }
    req->answer.json = json_object();
    if (json_object_size(out) > 0)
        json_object_set(req->answer.json, "Attributes", out);
    json_decref(out);
    json_decref(all);
}

void sqs_list_queues(struct devcloud *cloud, struct request *req)
{
    const char *prefix = json_str_or(req->params, "QueueNamePrefix", "");
    json_t *urls = json_array();
    size_t at = 0;
    const char *key;
    void *value;

    while (map_next(&cloud->queues, &at, &key, &value)) {
        const struct queue *q = value;
        if (strncmp(key, prefix, strlen(prefix)) == 0)
            json_array_append_new(urls, json_string(q->url));
    }
    req->answer.json = json_object();
    if (json_array_size(urls) > 0)
        json_object_set(req->answer.json, "QueueUrls", urls);
    json_decref(urls);
}

void sqs_create_queue(struct devcloud *cloud, struct request *req)
{
    const char *name = json_str_or(req->params, "QueueName", "");
    const json_t *attributes = json_obj(req->params, "Attributes");
    struct queue *q = map_get(&cloud->queues, name);
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
            len = 0;
    if (len == 0 || len > QUEUE_NAME_MAX) {
        answer_error(&req->answer, 400, "InvalidParameterValue",
                     "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 "
                     "in length");
        return;
    }
    if (q != NULL && attributes != NULL && !json_equal(q->attributes, attributes)) {
        answer_error(&req->answer, 400, "QueueNameExists",
                     "A queue already exists with the same name and a different value for an "
                     "attribute");
        return;
    }
    if (q == NULL)
        q = queue_create(cloud, name, attributes);
    if (q == NULL)
        abort();
    req->answer.json = json_pack("{s:s}", "QueueUrl", q->url);
}

void sqs_purge_queue(struct devcloud *cloud, struct request *req)
{
    struct queue *q = sqs_queue(cloud, req);

    if (q == NULL)
        return;
    if (q->purged_ms != 0 && cloud_unix_ms() - q->purged_ms < PURGE_PAUSE_MS) {
        answer_error(&req->answer, 403, "PurgeQueueInProgress",
                     "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q->name);
        return;
    }
    q->purged_ms = cloud_unix_ms();
    queue_purge(cloud, q);
}
