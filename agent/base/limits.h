/* SPDX-License-Identifier: Apache-2.0
 * Every bound of the agent, with its reason. */
#ifndef BLOX_BASE_LIMITS_H
#define BLOX_BASE_LIMITS_H

/* Identity. */
#define AGENT_ID_MAX 64      /* an EC2 instance id is 19 characters, a test name more */
#define CLUSTER_NAME_MAX 255 /* ECS's own limit */
/* arn:aws-us-gov:ecs:us-gov-west-1:111122223333:container-instance/CLUSTER/ID, with 255 and 32
 * characters, is 353 long. A record is called so behind an id of 36, and its name takes 400. */
#define ARN_MAX 360
#define ZONE_MAX 32

/* Gossip. */
#define GOSSIP_MEMBERS_MAX 8192       /* ECS allows 5,000 instances in a cluster */
#define GOSSIP_DATAGRAM_SMALL 1232    /* IPv6's least MTU, 1280, less its and UDP's headers */
#define GOSSIP_DATAGRAM_BASE 1400     /* MTU 1500 less IPv6, UDP and a tunnel's headers */
#define GOSSIP_DATAGRAM_MAX 8952      /* jumbo frames: MTU 9000 less IPv6's and UDP's headers */
#define GOSSIP_MESSAGE_MAX (8u << 20) /* one stream message: a raft snapshot or a page of rows */
#define GOSSIP_STREAMS_MAX 256        /* open peer streams of one agent */

/* Raft. */
#define RAFT_VOTERS_MAX 5
#define RAFT_SERVERS_MAX 9 /* voters, learners and one on its way out */
#define RAFT_COMMAND_MAX (64u * 1024)

/* API. */
#define API_BODY_MAX (256u * 1024)
#define API_BODY_DROPPED_MAX (4u << 20) /* of a larger one, read so that the answer arrives */
#define API_CONNECTIONS_MAX 1200        /* of each listener; streams do not count */
#define API_CONNECTIONS_SPARE 64        /* beyond them: probes of health; others are told so */
#define API_WAITERS_MAX 256
#define API_STREAMS_MAX 1024

/* AWS. */
#define ECS_START_BATCH 10 /* StartTask's limit of container instances */
#define ECS_DESCRIBE_BATCH 100
#define SQS_BATCH 10
#define AWS_RESPONSE_MAX (16u << 20) /* 100 described instances are about 1 MB */

/* Intent. */
#define ENVIRONMENT_NAME_MAX 30 /* Blox 0.3's pattern: [a-zA-Z0-9-_]{1,30} */
#define ENVIRONMENTS_MAX 1000
#define DEPLOYMENTS_KEPT 50 /* per environment; the newest stay */
/* Both as JSON: with 2 MiB of remembered answers a snapshot is to be one GOSSIP_MESSAGE_MAX. */
#define INTENT_BYTES_MAX (4u << 20)
#define IDEMPOTENCY_KEYS_MAX 4096
#define IDEMPOTENCY_KEY_MAX 64

#endif
