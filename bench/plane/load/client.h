/* The client of the load. */
#ifndef CLIENT_H
#define CLIENT_H

#include "wire.h"

#include <netinet/in.h>

/* What was asked for, and how far it is. */
extern struct run {
	enum op op;
	struct sockaddr_in to;
	size_t conns, size, rate;
	uint64_t ms, began, deadline, ended;
	size_t open, ready, running;
	uint64_t bytes, done, lost, failed, arrived, sent;
	uint32_t *waits;	/* nanoseconds of each message */
	size_t kept;
	uint16_t port;
} run;

void record(uint64_t began);
bool over(void);
void finish(struct conn *conn);

void open_stream(struct conn *conn);
void work_stream(struct conn *conn);

void open_datagrams(struct conn *conn);
void hear(struct conn *conn);
void give_up_late(struct conn *conns);
void flood(struct conn *conn);

#endif
